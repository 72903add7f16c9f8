from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from search_spaces.trial import Checkpointing, MethodRef, ModelRef, Training, Trial
from trainers import data, registry
from trainers.outcomes import OutcomeStore
from trainers.results import Job, Outcome
from trainers.worker import Worker

TRAINING: dict[str, Any] = {
    "learning_rate": 1e-2,
    "steps": 4,
    "batch_size": 4,
    "optimizer": "adamw",
    "betas": (0.9, 0.999),
    "eps": 1e-8,
    "weight_decay": 0.0,
    "scheduler": "linear",
    "warmup_ratio": 0.06,
    "clip": 1.0,
    "dropout": 0.0,
    "max_length": 220,
    "max_new_tokens": 4,
    "checkpoint": Checkpointing(best="loss", evaluations=2),
}


def make_trial(method: str = "lora", task: str = "squad", **changes: Any) -> Trial:
    training = Training(**{**TRAINING, **changes.pop("training", {})})
    capacity = changes.pop("capacity", {"rank": 2} if method in ("lora", "lorta") else {})
    content: dict[str, Any] = {
        "phase": "report",
        "label": method,
        "model": ModelRef(id="micro-llama"),
        "task": task,
        "data": data.resolve(registry.task(task), "embedded", train=12, selection=4, test=4, seed=0),
        "method": MethodRef(name=method, version="1", capacity=capacity),
        "targets": ("q", "v"),
        "training": training,
        "seed": 0,
    }
    return Trial(**{**content, **changes})


@pytest.fixture
def trial_of() -> Callable[..., Trial]:
    """Makes a trial on the micro model; takes changes of the trial and `training=` changes of its training."""
    return make_trial


@pytest.fixture(scope="session")
def worker() -> Worker:
    return Worker(threads=1)


@pytest.fixture
def run(worker: Worker, tmp_path: Path) -> Callable[..., Outcome]:
    """Runs a trial and returns its Outcome; a second run of the same trial goes to another store."""
    runs = 0

    def go(trial: Trial, **job: Any) -> Outcome:
        nonlocal runs
        runs += 1
        storage = job.pop("storage", tmp_path / str(runs))
        (job.pop("worker", worker)).run(Job(trial, "attempt", str(storage), **job))
        outcome = OutcomeStore(Path(storage) / "outcomes").read(trial.id)
        assert outcome is not None
        return outcome

    return go
