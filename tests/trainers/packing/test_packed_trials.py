"""Whole trials in a pack of one worker against the same trials alone: curves, predictions, endings, checkpoints."""

from __future__ import annotations

import threading
import time
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch

from search_spaces.trial import Checkpointing, ModelRef, Trial
from tests.trainers.worker.conftest import make_trial
from trainers import loop
from trainers.methods.lora import Lora
from trainers.outcomes import OutcomeStore
from trainers.packing import caches
from trainers.packing.board import Board
from trainers.results import Job, Outcome, Progress
from trainers.worker import Worker

ENCODER = ModelRef(id="micro-bert")


@pytest.fixture(scope="module")
def worker() -> Worker:
    return Worker(threads=1)


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of lanes of each pass."""
    lanes: list[int] = []
    plain = Board.manned

    def counted(self: Board, crew: Any, *arguments: Any) -> Any:
        lanes.append(len(crew.sizes))
        return plain(self, crew, *arguments)

    monkeypatch.setattr(Board, "manned", counted)
    return lanes


def read(storage: Path, trial: Trial) -> Outcome:
    outcome = OutcomeStore(storage / "outcomes").read(trial.id)
    assert outcome is not None
    return outcome


def predictions(storage: Path, trial: Trial) -> Any:
    return pq.read_table(storage / "outcomes" / trial.id / "predictions.parquet").to_pydict()


def run_alone(worker: Worker, trial: Trial, storage: Path) -> Outcome:
    worker.run(Job(trial, "attempt", str(storage)))
    return read(storage, trial)


Report = Callable[[Progress], None]


def run_packed(
    worker: Worker, trials: Sequence[Trial], storage: Path, width: int = 4, reports: Sequence[Report] = (), **job: Any
) -> list[BaseException | None]:
    """Run trials in threads of their own, as a process with several slots does; return what they raised."""
    raised: list[BaseException | None] = [None] * len(trials)
    cohort = (uuid.uuid4().hex, len(trials))

    def run(index: int, trial: Trial) -> None:
        try:
            report = reports[index] if reports else lambda progress: None
            worker.run(Job(trial, "attempt", str(storage), packed=width, cohort=cohort, **job), report)
        except BaseException as error:  # noqa: BLE001  the ends of processes are among them
            raised[index] = error

    threads = [threading.Thread(target=run, args=pair, daemon=True) for pair in enumerate(trials)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive(), "a trial never ended"
    return raised


def assert_alike(packed: Outcome, solo: Outcome) -> None:
    assert packed.status == solo.status == "finished", packed.error
    assert packed.curves.keys() == solo.curves.keys()
    for name, points in solo.curves.items():
        assert [step for step, _ in packed.curves[name]] == [step for step, _ in points]
        # The step in which operations are counted takes other kernels alone.
        assert [value for _, value in packed.curves[name]] == pytest.approx([value for _, value in points], rel=1e-4, abs=1e-5)
    assert packed.metrics == pytest.approx(solo.metrics, rel=1e-4, abs=1e-5)
    assert (packed.best_step, packed.usage, packed.counts) == (solo.best_step, solo.usage, solo.counts)
    assert packed.data_digests == solo.data_digests


def grid(**changes: Any) -> list[Trial]:
    """Return trials of different methods, learning rates, sizes and probabilities of dropout."""
    training = changes.pop("training", {})
    kinds = [
        ("lora", 1e-2, {"rank": 2}, 0.0),
        ("lora", 3e-3, {"rank": 2}, 0.2),
        ("lorta", 1e-2, {"rank": 3}, 0.1),
        ("lora", 1e-3, {"rank": 4}, 0.0),
    ]
    return [
        make_trial(name, training={**training, "learning_rate": rate, "dropout": dropout}, capacity=capacity, **changes)
        for name, rate, capacity, dropout in kinds
    ]


TASKS = [
    ("squad", {}),
    ("squad", {"also_train": ("norms",)}),
    ("copa", {"training": {"batch_size": 2, "micro_batch": 1}}),
    ("record", {}),
    ("sst2", {"model": ENCODER}),
    ("stsb", {"model": ENCODER, "also_train": ("norms", "biases")}),
]


@pytest.mark.parametrize(("task", "changes"), TASKS)
def test_trials_end_with_the_numbers_and_answers_that_they_have_alone(
    worker: Worker, tmp_path: Path, passes: list[int], task: str, changes: dict[str, Any]
) -> None:
    trials = grid(task=task, **changes)
    assert run_packed(worker, trials, tmp_path / "packed") == [None] * 4
    assert passes.count(4) > 0.8 * len(passes), "evaluation passes are shared, too"
    for trial in trials:
        solo, packed = run_alone(worker, trial, tmp_path / "alone"), read(tmp_path / "packed", trial)
        assert_alike(packed, solo)
        mine, theirs = predictions(tmp_path / "packed", trial), predictions(tmp_path / "alone", trial)
        assert (mine["id"], mine["split"]) == (theirs["id"], theirs["split"])
        assert mine["prediction"] == (pytest.approx(theirs["prediction"], rel=1e-4) if task == "stsb" else theirs["prediction"])


def test_large_caches_are_read_lane_by_lane(worker: Worker, tmp_path: Path, passes: list[int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caches, "JOINED_BYTES", 0)
    trials = grid(phase="select")[:2]
    run_packed(worker, trials, tmp_path / "packed")
    assert {1, 2} == set(passes)
    for trial in trials:
        assert_alike(read(tmp_path / "packed", trial), run_alone(worker, trial, tmp_path / "alone"))


def test_a_packed_trial_has_no_profile_and_says_how_it_ran(worker: Worker, tmp_path: Path) -> None:
    trials = grid()[:2]
    run_packed(worker, trials, tmp_path)
    outcomes = [read(tmp_path, trial) for trial in trials]
    for outcome in outcomes:
        assert outcome.environment["execution"]["packed"] == 4
        profile = outcome.profile
        assert {profile.seconds_per_step, profile.peak_bytes, profile.flops, profile.macs, profile.forward_flops, profile.load_seconds} == {
            None
        }
        assert sum(profile.spans.values()) == pytest.approx(profile.wall_seconds, rel=0.05, abs=0.05)
        assert profile.spans["wait"] > 0
    took = max(outcome.ended for outcome in outcomes) - min(outcome.started for outcome in outcomes)
    assert 0 < sum(outcome.profile.train_seconds for outcome in outcomes) <= took, "waiting for each other is not training"


def test_a_trial_has_the_same_bits_whoever_is_beside_it(worker: Worker, tmp_path: Path) -> None:
    trial, *others = grid()
    run_packed(worker, [trial], tmp_path / "alone", width=4)
    run_packed(worker, [*others, trial], tmp_path / "beside", width=4)
    assert read(tmp_path / "beside", trial).curves == read(tmp_path / "alone", trial).curves


def test_neighbours_that_diverge_or_fail_or_run_out_of_time_are_not_felt(
    worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = grid()
    diverging = make_trial(training={"learning_rate": 1e30, "clip": None}, also_train=("norms",))
    failing = make_trial(capacity={"rank": 6})
    plain = Lora.code

    def code(self: Lora, *arguments: Any) -> Any:
        if self.capacity["rank"] == 6 and self.training:
            raise LookupError("the method of rank 6")
        return plain(self, *arguments)

    monkeypatch.setattr(Lora, "code", code)
    run_packed(worker, [diverging, *trials[:2], failing, trials[2]], tmp_path / "packed")
    monkeypatch.undo()
    assert read(tmp_path / "packed", diverging).status == "diverged"
    failed = read(tmp_path / "packed", failing)
    assert failed.status == "error" and "the method of rank 6" in str(failed.error)
    for trial in trials[:3]:
        assert_alike(read(tmp_path / "packed", trial), run_alone(worker, trial, tmp_path / "alone"))


def test_a_trial_past_its_time_limit_ends_alone(worker: Worker, tmp_path: Path) -> None:
    trials = grid(training={"steps": 6})
    threads = [
        threading.Thread(target=run_packed, args=(worker, part, tmp_path), kwargs=options, daemon=True)
        for part, options in ((trials[:1], {"time_limit": 0.0}), (trials[1:], {}))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert "time limit" in str(read(tmp_path, trials[0]).error)
    assert [read(tmp_path, trial).status for trial in trials[1:]] == ["finished"] * 3


def test_waiting_for_others_is_no_part_of_the_time_limit(worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow, *others = [make_trial(capacity={"rank": 6}, training={"steps": 6}), *grid(training={"steps": 6})]
    monkeypatch.setattr(Lora, "after_step", lambda self, *_: time.sleep(2.0 if self.capacity["rank"] == 6 else 0.0))
    run_packed(worker, [slow, *others], tmp_path, time_limit=5)
    assert "time limit" in str(read(tmp_path, slow).error)
    outcomes = [read(tmp_path, trial) for trial in others]
    assert [outcome.status for outcome in outcomes] == ["finished"] * len(others)
    assert all(outcome.profile.spans["wait"] > 3 for outcome in outcomes)


def test_trials_follow_one_another_in_the_places_that_become_free(worker: Worker, tmp_path: Path) -> None:
    lengths = [2, 4, 6, 3, 5, 2]
    trials = [make_trial(training={"steps": steps, "learning_rate": 1e-3 * (n + 1)}) for n, steps in enumerate(lengths)]
    places = [
        threading.Thread(
            target=lambda part: [run_packed(worker, [trial], tmp_path / "packed") for trial in part], args=(trials[n::2],), daemon=True
        )
        for n in range(2)
    ]
    for place in places:
        place.start()
    for place in places:
        place.join(120)
    for trial in trials:
        assert_alike(read(tmp_path / "packed", trial), run_alone(worker, trial, tmp_path / "alone"))


def test_trials_on_different_bases_wait_for_each_other(worker: Worker, tmp_path: Path) -> None:
    trials = [make_trial(), make_trial(task="sst2", model=ENCODER), make_trial(seed=1), make_trial(task="sst2", model=ENCODER, seed=1)]
    assert run_packed(worker, trials, tmp_path) == [None] * 4
    assert [read(tmp_path, trial).status for trial in trials] == ["finished"] * 4


class Killed(BaseException):
    """Stands for the end of the process."""


def test_a_lane_goes_on_from_its_checkpoint(worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    training = {"steps": 6, "checkpoint": Checkpointing(best="loss", evaluations=6)}
    trials = grid(training=training)[1:3]
    run_packed(worker, trials, tmp_path / "undisturbed")

    def report(progress: Progress) -> None:
        if progress.step == 4 and progress.loss is not None:
            raise Killed

    raised = run_packed(worker, trials, tmp_path / "disturbed", reports=[report, lambda progress: None])
    assert isinstance(raised[0], Killed) and raised[1] is None
    assert run_packed(worker, trials[:1], tmp_path / "disturbed") == [None]
    for trial in trials:
        continued, undisturbed = read(tmp_path / "disturbed", trial), read(tmp_path / "undisturbed", trial)
        assert (continued.curves, continued.metrics, continued.usage) == (undisturbed.curves, undisturbed.metrics, undisturbed.usage)


def test_a_trial_that_changes_the_base_voids_what_ran_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    worker, trials = Worker(threads=1), grid(training={"steps": 6})
    changing, plain = make_trial(training={"steps": 2}, capacity={"rank": 5}), Lora.prepare

    def prepare(self: Lora) -> None:
        if self.capacity["rank"] == 5 and worker._base is not None:
            with torch.no_grad():
                next(worker._base.model.parameters()).add_(1)
        plain(self)

    monkeypatch.setattr(Lora, "prepare", prepare)
    run_packed(worker, [changing, *trials[:2]], tmp_path / "void")
    for trial in (changing, *trials[:2]):
        outcome = read(tmp_path / "void", trial)
        assert outcome.status == "error" and "changed the base" in str(outcome.error)
    monkeypatch.undo()
    run_packed(worker, trials[:1], tmp_path / "after")
    assert_alike(read(tmp_path / "after", trials[0]), run_alone(worker, trials[0], tmp_path / "alone"))
