"""Trials of a group of two processes, against the same trials on one worker."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from search_spaces.trial import BASE, ModelRef, Trial
from tests.services.worker_group import Raised, WorkerGroup
from trainers import registry
from trainers.api import group_refusal
from trainers.outcomes import OutcomeStore
from trainers.results import Job, Outcome
from trainers.worker import Worker

Trials = Callable[..., Trial]
Deepspeed = tuple[tuple[str, Any], ...]
TRAINING = {"batch_size": 8, "steps": 4, "max_length": 100, "clip": 0.1, "weight_decay": 0.1, "learning_rate": 0.02}
CLOSE = 1e-5
# Each a task of another form, with a method of another kind: its base, its capacity, and what it takes of the base.
Case = tuple[str, str, str, dict[str, Any]]
LORA = ("lora", "squad", "micro-llama", {"rank": 2})
SHARED = ("lorta", "boolq", "micro-llama", {"rank": 2})
SCALING: Case = ("ia3", "sst2", "micro-bert", {})
ALLOCATOR = ("adalora", "boolq", "micro-llama", {"rank": 2})
FREEZING = ("hadamard", "sst2", "micro-bert", {"layers": 2})
COPYING: Case = ("full", "boolq", "micro-llama", {})
DECOMPOSED = ("lora_xs", "boolq", "micro-llama", {"rank": 2})


@pytest.fixture(scope="module")
def group() -> Iterator[WorkerGroup]:
    """Two workers, which run all trials of this file one after the other."""
    with WorkerGroup(2) as workers:
        workers.set("trainers.loop:CHECKPOINT_SECONDS", 0.0)
        workers.set("trainers.recording:FAILED_SECONDS", 60.0)
        yield workers


@pytest.fixture
def case_of(trial_of: Trials) -> Callable[..., Trial]:
    """Makes the trial of a case."""

    def make(case: Case, **training: Any) -> Trial:
        method, task, model, capacity = case
        return trial_of(method, task=task, model=ModelRef(id=model), capacity=capacity, training={**TRAINING, **training})

    return make


def zero(stage: int) -> Deepspeed:
    # DeepSpeed would leave weights of this size whole.
    return (("zero_optimization", {"stage": stage, "stage3_param_persistence_threshold": 0}),)


def read(trial: Trial, storage: Path) -> tuple[Outcome, list[Mapping[str, Any]]]:
    store = OutcomeStore(storage / "outcomes")
    outcome = store.read(trial.id)
    assert outcome is not None
    file = store.folder(trial.id) / "predictions.parquet"
    return outcome, pq.read_table(file).to_pylist() if file.exists() else []


def on_one(worker: Worker, trial: Trial, storage: Path) -> tuple[Outcome, list[Mapping[str, Any]]]:
    worker.run(Job(trial, "one", str(storage)))
    return read(trial, storage)


def on_two(group: WorkerGroup, trial: Trial, storage: Path, stage: int, **options: Any) -> tuple[Outcome, list[Mapping[str, Any]]]:
    time_limit = options.pop("time_limit", None)
    group.run(Job(trial, storage.name, str(storage), time_limit=time_limit, deepspeed=zero(stage)), **options)
    return read(trial, storage)


def assert_alike(found: Outcome, expected: Outcome) -> None:
    assert (found.status, expected.status) == ("finished", "finished"), found.error or expected.error
    assert found.curves.keys() == expected.curves.keys()
    for name, points in expected.curves.items():
        assert np.array(found.curves[name]) == pytest.approx(np.array(points), abs=CLOSE), name
    assert found.metrics == pytest.approx(expected.metrics, abs=CLOSE)
    assert (found.usage, found.counts, found.best_step) == (expected.usage, expected.counts, expected.best_step)
    assert found.data_digests == expected.data_digests


def case_id(value: Any) -> str:
    return value[0] if isinstance(value, tuple) else f"zero{value}"


def slow(*values: Any) -> Any:
    return pytest.param(*values, marks=pytest.mark.slow)


CASES = [
    *((LORA, stage) for stage in (0, 1, 2, 3)),
    (SHARED, 3),
    (SCALING, 1),
    (ALLOCATOR, 2),
    (FREEZING, 2),
    *(slow(case, stage) for case, stage in ((SHARED, 0), (SCALING, 3), (ALLOCATOR, 0), (ALLOCATOR, 1), (ALLOCATOR, 3))),
    *(slow(case, stage) for case, stage in ((FREEZING, 3), (COPYING, 2), (DECOMPOSED, 3))),
]


@pytest.mark.parametrize(("case", "stage"), CASES, ids=case_id)
def test_two_workers_give_the_numbers_of_one(
    case_of: Callable[..., Trial], worker: Worker, group: WorkerGroup, tmp_path: Path, case: Case, stage: int
) -> None:
    trial = case_of(case)
    expected, told = on_one(worker, trial, tmp_path / "one")
    found, tells = on_two(group, trial, tmp_path / "two", stage)
    assert_alike(found, expected)
    assert tells == told
    execution = found.environment["execution"]
    assert (execution["workers"], execution["deepspeed"]["zero_optimization"]["stage"]) == (2, stage)


@pytest.mark.parametrize("stage", [slow(0), 3])
def test_the_untuned_base_is_scored_alike(trial_of: Trials, worker: Worker, group: WorkerGroup, tmp_path: Path, stage: int) -> None:
    trial = trial_of(BASE, targets=(), capacity={}, training={**TRAINING, "steps": 0, "learning_rate": 0.0})
    expected, told = on_one(worker, trial, tmp_path / "one")
    found, tells = on_two(group, trial, tmp_path / "two", stage)
    assert_alike(found, expected)
    assert tells == told


def test_small_weights_stay_whole_by_deepspeeds_own_threshold(
    case_of: Callable[..., Trial], worker: Worker, group: WorkerGroup, tmp_path: Path
) -> None:
    trial, settings = case_of(LORA), (("zero_optimization", {"stage": 3}),)
    group.run(Job(trial, "two", str(tmp_path / "two"), deepspeed=settings))
    assert_alike(read(trial, tmp_path / "two")[0], on_one(worker, trial, tmp_path / "one")[0])


@pytest.mark.parametrize("stage", [slow(0), 2, slow(3)])
def test_micro_batches_of_two_workers_make_the_same_batch(
    case_of: Callable[..., Trial], worker: Worker, group: WorkerGroup, tmp_path: Path, stage: int
) -> None:
    trial = case_of(ALLOCATOR, micro_batch=3)
    assert_alike(on_two(group, trial, tmp_path / "two", stage)[0], on_one(worker, trial, tmp_path / "one")[0])


def test_a_base_in_bfloat16_is_trained_alike(trial_of: Trials, worker: Worker, group: WorkerGroup, tmp_path: Path) -> None:
    trial = trial_of("lora", task="boolq", model=ModelRef(id="micro-llama", dtype="bfloat16"), training=TRAINING)
    expected, _ = on_one(worker, trial, tmp_path / "one")
    for stage in (0, 3):
        found, _ = on_two(group, trial, tmp_path / str(stage), stage)
        losses = [value for _, value in expected.curves["train/loss"]]
        assert [value for _, value in found.curves["train/loss"]] == pytest.approx(losses, abs=0.01)


@pytest.mark.parametrize(("case", "stage"), [slow(LORA, 0), (ALLOCATOR, 2), slow(FREEZING, 1), (SHARED, 3)], ids=case_id)
def test_a_continued_group_ends_with_the_numbers_of_an_undisturbed_one(
    case_of: Callable[..., Trial], group: WorkerGroup, tmp_path: Path, case: Case, stage: int
) -> None:
    trial = case_of(case, dropout=0.1 if case is LORA else 0.0, checkpoint={"best": "loss", "evaluations": 4})
    undisturbed, _ = on_two(group, trial, tmp_path / "undisturbed", stage)
    storage = tmp_path / "disturbed"
    with pytest.raises(Raised, match="Killed"):
        group.run(Job(trial, "first", str(storage), deepspeed=zero(stage)), kill_at=3)
    assert (storage / "checkpoints" / trial.id).is_dir()
    continued, _ = on_two(group, trial, storage, stage)
    assert continued.curves == undisturbed.curves
    assert continued.metrics == undisturbed.metrics
    assert continued.usage == undisturbed.usage


def test_a_checkpoint_of_another_kind_of_group_is_left_alone(
    case_of: Callable[..., Trial], group: WorkerGroup, worker: Worker, tmp_path: Path
) -> None:
    trial = case_of(LORA, checkpoint={"best": "loss", "evaluations": 4})
    with pytest.raises(Raised, match="Killed"):
        group.run(Job(trial, "first", str(tmp_path), deepspeed=zero(0)), kill_at=3)
    steps: list[int] = []
    worker.run(Job(trial, "second", str(tmp_path)), lambda progress: steps.append(progress.step))
    assert min(steps) == 1


@pytest.mark.parametrize("stage", [slow(0), 1, slow(3)])
def test_a_loss_that_is_not_finite_ends_all_workers(
    case_of: Callable[..., Trial], worker: Worker, group: WorkerGroup, tmp_path: Path, stage: int
) -> None:
    trial = case_of(SHARED, learning_rate=1e30, clip=None)
    assert on_one(worker, trial, tmp_path / "one")[0].status == "diverged"
    found, _ = on_two(group, trial, tmp_path / "two", stage)
    assert found.status == "diverged" and "is not finite at step" in str(found.error)


@pytest.mark.parametrize("stage", [0, 3])
def test_the_time_is_up_for_all_workers_at_once(case_of: Callable[..., Trial], group: WorkerGroup, tmp_path: Path, stage: int) -> None:
    found, _ = on_two(group, case_of(LORA), tmp_path, stage, time_limit=1e-6)
    assert found.status == "error" and "time limit passed at step 1 of 4" in str(found.error)


def test_what_all_workers_suffer_is_recorded_and_the_next_trial_is_none_the_worse(
    case_of: Callable[..., Trial], group: WorkerGroup, worker: Worker, tmp_path: Path
) -> None:
    refused, trial = case_of(("lora", "boolq", "micro-llama", {"rank": 999})), case_of(SHARED)
    outcome, _ = on_two(group, refused, tmp_path / "refused", 0)
    assert outcome.status == "error" and "999 is not valid" in str(outcome.error)
    expected, _ = on_one(worker, trial, tmp_path / "one")
    for stage in (0, 3):
        failed, _ = on_two(group, trial, tmp_path / f"failed{stage}", stage, fail_at={0: 2, 1: 2})
        assert failed.status == "error" and "was made to fail" in str(failed.error)
        assert_alike(on_two(group, trial, tmp_path / f"after{stage}", stage)[0], expected)


@pytest.mark.parametrize(
    ("case", "words"), [(COPYING, "a whole copy of it is to be trained"), (("dora_weight", *LORA[1:]), "in every step")]
)
def test_a_method_that_needs_whole_weights_is_refused(
    case_of: Callable[..., Trial], group: WorkerGroup, tmp_path: Path, case: Case, words: str
) -> None:
    outcome, _ = on_two(group, case_of(case), tmp_path, 3)
    assert outcome.status == "error" and words in str(outcome.error) and "zero_stage: 2" in str(outcome.error)


def test_each_worker_holds_a_part_of_the_base(case_of: Callable[..., Trial], group: WorkerGroup, tmp_path: Path) -> None:
    on_two(group, case_of(LORA), tmp_path / "whole", 0)
    whole = group.call("held_numbers")
    on_two(group, case_of(LORA), tmp_path / "parts", 3)
    parts = group.call("held_numbers")
    assert whole[0] == whole[1]
    assert all(part < 0.52 * whole[0] for part in parts)


def test_the_workers_listen_on_loopback_alone(group: WorkerGroup) -> None:
    addresses = [address for worker in group.call("listening") for address in worker]
    assert addresses and set(addresses) == {"127.0.0.1"}


CAPACITIES = {"rank": 2, "bottleneck": 4, "tokens": 3, "layers": 1, "inner": 2, "blocks": 2, "active": 2}


@pytest.mark.slow
@pytest.mark.parametrize("stage", [1, 2, 3])
@pytest.mark.parametrize("method", registry.method_names())
def test_every_method_is_trained_alike(
    case_of: Callable[..., Trial], worker: Worker, group: WorkerGroup, tmp_path: Path, method: str, stage: int
) -> None:
    card = registry.method_type(method).card
    if reason := group_refusal(card, registry.optimizer_type("adamw").card, 2, stage):
        pytest.skip(reason)
    case = (method, "boolq", "micro-llama", {key: CAPACITIES[key] for key in card.capacity})
    # The same forward passes: some methods note something in each.
    trial = case_of(case, micro_batch=4, steps=3, checkpoint={"best": "loss", "evaluations": 1})
    expected, _ = on_one(worker, trial, tmp_path / "one")
    found, _ = on_two(group, trial, tmp_path / "two", stage)
    if expected.status == "finished":
        assert_alike(found, expected)
    assert (found.status, found.error) == (expected.status, expected.error)


@pytest.mark.slow
@pytest.mark.parametrize("stage", [2, 3])
def test_trials_leave_no_memory_behind(case_of: Callable[..., Trial], group: WorkerGroup, tmp_path: Path, stage: int) -> None:
    trial = case_of(SHARED, steps=1, checkpoint={"best": "loss", "evaluations": 1})

    def run(number: int) -> None:
        on_two(group, trial, tmp_path / str(number), stage)

    for number in range(10):
        run(number)
    before = group.call("resident_bytes")
    for number in range(10, 50):
        run(number)
    growth = [after - start for after, start in zip(group.call("resident_bytes"), before, strict=True)]
    assert max(growth) / 40 < 0.3 * 2**20
