"""A small grid, once packed and once trial by trial, selects the same points."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from search_spaces.trial import Trial
from tests.trainers.worker.conftest import make_trial
from trainers.outcomes import OutcomeStore
from trainers.results import Job, Outcome
from trainers.worker import Worker

METHODS = {"lora": {"rank": 2}, "ia3": {}, "fact_tt": {"rank": 2}}
RATES = (1e-3, 3e-2, 1.0)


def run(worker: Worker, trial: Trial, storage: Path, width: int) -> Outcome:
    worker.run(Job(trial, "attempt", str(storage), packed=width))
    outcome = OutcomeStore(storage / "outcomes").read(trial.id)
    assert outcome is not None
    return outcome


def best(trials: list[Trial], outcomes: list[Outcome]) -> dict[str, float]:
    """Return the learning rate with the lowest loss, by method."""
    losses = [o.metrics["selection/loss"] if o.status == "finished" else math.inf for o in outcomes]
    ranked = sorted(zip(losses, trials, strict=True), key=lambda pair: pair[0], reverse=True)
    return {trial.label: trial.training.learning_rate for _, trial in ranked}


def test_the_same_points_are_selected(tmp_path: Path) -> None:
    worker, grid = Worker(threads=1), [(method, rate) for method in METHODS for rate in RATES]
    trials = [make_trial(m, phase="select", capacity=METHODS[m], training={"learning_rate": r, "steps": 4}) for m, r in grid]
    apart = [run(worker, trial, tmp_path / "apart", 1) for trial in trials]
    with ThreadPoolExecutor(len(trials)) as lanes:
        packed = list(lanes.map(lambda trial: run(worker, trial, tmp_path / "packed", len(trials)), trials))
    assert [o.status for o in packed] == [o.status for o in apart]
    assert [o.best_step for o in packed] == [o.best_step for o in apart]
    assert best(trials, packed) == best(trials, apart)
