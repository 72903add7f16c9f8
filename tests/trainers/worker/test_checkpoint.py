from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from search_spaces.trial import Trial
from trainers import loop
from trainers.outcomes import OutcomeStore
from trainers.results import Job, Outcome, Progress
from trainers.worker import Worker

Trials = Callable[..., Trial]
Run = Callable[..., Outcome]
TRAINING = {"steps": 6, "learning_rate": 0.05, "dropout": 0.1, "checkpoint": {"best": "loss", "evaluations": 6}}


class Killed(BaseException):
    """Stands for the end of the process."""


def killed_at(step: int) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if progress.step == step and progress.loss is not None:
            raise Killed

    return report


@pytest.fixture(autouse=True)
def save_at_every_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)


def interrupt(worker: Worker, trial: Trial, storage: Path, step: int) -> None:
    with pytest.raises(Killed):
        worker.run(Job(trial, "first", str(storage)), killed_at(step))


@pytest.mark.parametrize("method", ["lora", "full", "peft/lora", "peft/adalora"])
@pytest.mark.parametrize("step", [1, 4, 6])
def test_a_continued_trial_ends_with_the_numbers_of_an_undisturbed_one(
    trial_of: Trials, run: Run, worker: Worker, tmp_path: Path, method: str, step: int
) -> None:
    capacity = {"lora": {"rank": 2}, "full": {}, "peft/lora": {"r": 2}, "peft/adalora": {"target_r": 2}}[method]
    trial = trial_of(method, capacity=capacity, training=TRAINING, targets=("q", "k", "v", "o"))
    undisturbed = run(trial)
    interrupt(worker, trial, tmp_path / "disturbed", step)
    continued = run(trial, storage=tmp_path / "disturbed")
    assert continued.curves == undisturbed.curves
    assert continued.metrics == undisturbed.metrics
    assert continued.usage == undisturbed.usage


def test_a_continued_trial_has_the_time_that_was_left(trial_of: Trials, run: Run, worker: Worker, tmp_path: Path) -> None:
    trial = trial_of(training=TRAINING)

    def slow(progress: Progress) -> None:
        time.sleep(0.5)
        killed_at(4)(progress)

    with pytest.raises(Killed):
        worker.run(Job(trial, "first", str(tmp_path)), slow)
    outcome = run(trial, storage=tmp_path, time_limit=1.5)
    assert outcome.status == "error" and "the time limit passed at step 4 of 6" in str(outcome.error)


def test_a_damaged_checkpoint_gives_way_to_the_one_before(trial_of: Trials, run: Run, worker: Worker, tmp_path: Path) -> None:
    trial, storage = trial_of(training=TRAINING), tmp_path / "disturbed"
    interrupt(worker, trial, storage, 4)
    newest = max((storage / "checkpoints" / trial.id).glob("*/state.safetensors"))
    content = bytearray(newest.read_bytes())
    content[-1] ^= 1
    newest.write_bytes(bytes(content))
    steps: list[int] = []
    worker.run(Job(trial, "second", str(storage)), lambda progress: steps.append(progress.step))
    assert min(steps) == 3, "goes on after step 2, where the checkpoint before was written"
    continued = OutcomeStore(storage / "outcomes").read(trial.id)
    assert continued is not None and continued.curves == run(trial).curves


def test_a_finished_trial_leaves_no_checkpoint(trial_of: Trials, run: Run, tmp_path: Path) -> None:
    trial = trial_of(training=TRAINING)
    run(trial, storage=tmp_path / "here")
    assert not list((tmp_path / "here" / "checkpoints").glob("*"))


def test_a_checkpoint_that_cannot_be_written_costs_the_trial_nothing(trial_of: Trials, run: Run, tmp_path: Path) -> None:
    trial = trial_of(training=TRAINING)
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "checkpoints").touch()
    assert run(trial, storage=tmp_path / "here").curves == run(trial).curves
