"""What `packing: auto` measures, on a real base and real batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

import pytest

from search_spaces.compute import Compute
from search_spaces.trial import DataRef, ModelRef, Trial
from trainers import data as task_data
from trainers import references, registry
from trainers.packing.choice import Choice, Choices, Kind, Measurement, PackingPost
from trainers.packing.measure import Bench, chosen, measure
from trainers.packing.memory import MemoryModel, fits, share_bytes, widths
from trainers.storage import Storage
from trainers.worker import Worker


def trial_of(method: str = "lora", **training: object) -> Trial:
    data = task_data.resolve(registry.task("squad"), "embedded", train=8, selection=2, test=2, seed=0)
    assert isinstance(data, DataRef)
    content = {
        "learning_rate": 1e-3, "steps": 50, "batch_size": 2, "optimizer": "adamw", "betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0,
        "scheduler": "linear", "warmup_ratio": 0.06, "clip": 1.0, "dropout": 0.0, "max_length": 64, "max_new_tokens": 2,
        "checkpoint": {"best": "loss", "evaluations": 50},
    }  # fmt: skip
    return Trial.model_validate(
        {
            "phase": "select", "label": method, "model": references.resolve(ModelRef(id="micro-llama")), "task": "squad", "data": data,
            "method": {"name": method, "version": "v", "capacity": {"rank": 2}}, "targets": ("q", "v"), "training": {**content, **training},
            "seed": 100,
        }
    )  # fmt: skip


@pytest.fixture(scope="module")
def bench() -> Bench:
    worker = Worker()
    base = worker.base(trial_of().model)
    return Bench(worker.pack, base, lambda trial: worker._data_of(base, trial), Compute(), worker.group)


def test_mixed_methods_are_measured_alone_and_in_packs_and_leave_the_base_as_it_was(bench: Bench) -> None:
    before = {name: tensor.clone() for name, tensor in bench.base.model.state_dict().items()}
    trials = [trial_of("lora"), trial_of("lorta")]
    for lanes in (1, 2, 3):
        found = bench.measured(trials, lanes, steps=3)
        assert found.lanes == lanes and found.steps_per_second > 0 and found.peak_bytes > 0
    assert not bench.pack.lanes
    assert all(tensor.equal(before[name]) for name, tensor in bench.base.model.state_dict().items())


class Timed:
    """A bench whose packs take known times: by method the steps per second of a trial alone, and by width those of a pack."""

    def __init__(self, alone: Mapping[str, float], packed: Mapping[int, float]) -> None:
        self.alone, self.packed = alone, packed

    def measured(self, trials: Sequence[Trial], lanes: int, steps: int) -> Measurement:
        rate = self.alone[trials[0].label] if lanes == 1 else self.packed[lanes]
        return Measurement(lanes=lanes, steps_per_second=rate, peak_bytes=1)

    def choice(self) -> Choice:
        trials = [trial_of(method) for method in self.alone]
        return chosen(cast("Bench", self), Kind.of(trials[0]), trials, limit_bytes=2**60)


def test_a_pack_is_held_against_its_own_trials_one_by_one() -> None:
    choice = Timed({"lora": 1000, "lorta": 200}, dict.fromkeys((2, 4, 8), 400)).choice()
    assert [found.gain for found in choice.measured] == pytest.approx([1, 1.2, 1.2, 1.2]), "two steps took 6 ms one by one, and take 5"
    assert choice.lanes == 2, "alone, the cheaper one is faster than any pack that has the dearer one in it"


def test_on_a_small_base_wide_packs_are_tried_though_narrow_ones_bring_nothing() -> None:
    assert Timed({"lora": 200}, {2: 160, 4: 200, 8: 300}).choice().lanes == 8


def test_on_a_large_base_no_time_is_spent_on_packs_wider_than_one_that_brings_nothing() -> None:
    choice = Timed({"lora": 1}, {2: 1}).choice()
    assert choice.lanes == 1 and "2 brought nothing" in choice.reason
    choice = Timed({"lora": 1}, {2: 1.5, 4: 1.5}).choice()
    assert choice.lanes == 2 and [found.lanes for found in choice.measured] == [1, 2, 4] and "4 brought nothing" in choice.reason


def test_no_pack_is_tried_that_would_not_fit_in_memory(bench: Bench) -> None:
    trial = trial_of()
    choice = chosen(bench, Kind.of(trial), [trial], limit_bytes=1)
    assert choice.lanes == 1 and [found.lanes for found in choice.measured] == [1]
    assert "would not fit in memory" in choice.reason and choice.predicted_bytes and choice.predicted_bytes > 1


def test_a_trial_that_cannot_run_is_not_packed_and_fails_by_itself_later(bench: Bench) -> None:
    trial = trial_of(dropout=0.0).model_copy(update={"targets": ("nowhere",)})
    choice = chosen(bench, Kind.of(trial), [trial], limit_bytes=2**40)
    assert choice.lanes == 1 and "nowhere" in choice.reason


def test_each_kind_is_measured_once_and_recorded(bench: Bench, tmp_path: Path) -> None:
    post = PackingPost(str(tmp_path), (trial_of(), trial_of("lorta"), trial_of(batch_size=1)), Compute())
    measure(bench, post)
    files = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "packing").iterdir()}
    assert len(files) == 2, "batches of one and of two"
    measure(bench, post)
    assert files == {file.name: file.stat().st_mtime_ns for file in (tmp_path / "packing").iterdir()}
    settled = Choices(Storage.at(tmp_path)).settled(trial_of("lorta"))
    assert settled.measured and settled.lanes in [found.lanes for found in settled.measured]


def test_the_base_is_counted_once_and_every_lane_once_more() -> None:
    model = MemoryModel(
        100, (Measurement(lanes=1, steps_per_second=1, peak_bytes=110), Measurement(lanes=2, steps_per_second=1, peak_bytes=116))
    )
    assert model.predicted(4) == 140, "the narrowest pack may count most for a lane"
    assert fits(model, 4, 140) and not fits(model, 4, 139)
    assert list(widths(8)) == [1, 2, 4, 8] and list(widths(6)) == [1, 2, 4]


def test_a_process_plans_with_what_it_reserves_or_with_its_share() -> None:
    assert share_bytes(reserved=1000, side_by_side=1) == 850
    assert 0 < share_bytes(None, side_by_side=4) < share_bytes(None, side_by_side=1)
