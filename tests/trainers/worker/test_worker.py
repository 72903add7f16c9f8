from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from safetensors.torch import load_file

from search_spaces.errors import StorageError
from search_spaces.trial import BASE, ModelRef, Trial
from trainers import registry
from trainers.adapters.snapshot import fingerprint
from trainers.outcomes import OutcomeStore
from trainers.results import Job, Outcome, Progress
from trainers.worker import Worker

Trials = Callable[..., Trial]
Run = Callable[..., Outcome]
NUMBERS = ("metrics", "curves", "best_step", "counts", "usage", "data_digests")


def numbers(outcome: Outcome) -> dict[str, object]:
    return outcome.model_dump(include=set(NUMBERS))


@pytest.mark.parametrize("method", ["lora", "lorta", "full", "peft/lora"])
@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_the_same_trial_twice_gives_bit_identical_numbers(trial_of: Trials, run: Run, method: str, dropout: float) -> None:
    trial = trial_of(
        method,
        capacity={"r": 2} if method == "peft/lora" else ({} if method == "full" else {"rank": 2}),
        training={"dropout": dropout},
    )
    first, second = run(trial), run(trial)
    assert first.status == "finished", first.error
    assert numbers(first) == numbers(second)


def test_another_process_gives_the_same_numbers(trial_of: Trials, run: Run, tmp_path: Path) -> None:
    trial = trial_of()
    file = tmp_path / "trial.json"
    file.write_text(trial.model_dump_json())
    done = subprocess.run(
        [sys.executable, "-m", "trainers.worker", str(file), "--out", str(tmp_path / "replay")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert numbers(Outcome.model_validate_json(done.stdout)) == numbers(run(trial))


def test_a_trial_is_not_changed_by_the_one_before_it(trial_of: Trials, run: Run, worker: Worker) -> None:
    trial = trial_of()
    alone = run(trial)
    before = fingerprint(worker.base(trial.model).model)
    run(trial_of("full", training={"learning_rate": 0.1}))
    assert fingerprint(worker.base(trial.model).model) == before
    assert numbers(run(trial)) == numbers(alone)


def test_a_base_that_a_trial_changed_is_loaded_again(trial_of: Trials, run: Run) -> None:
    worker = Worker(threads=1)
    trial = trial_of()
    alone = run(trial, worker=worker)
    next(worker.base(trial.model).model.parameters()).data.add_(1)
    marked = run(trial_of(seed=7), worker=worker)
    assert marked.status == "error" and marked.error is not None and "changed the base model" in marked.error
    assert numbers(run(trial, worker=worker)) == numbers(alone)


def test_seeds_drive_only_what_varies(trial_of: Trials, run: Run) -> None:
    order_only = {"vary": ("order",)}
    first, second = run(trial_of(seed=1, **order_only)), run(trial_of(seed=2, **order_only))
    assert first.data_digests["order"] != second.data_digests["order"]
    fixed = run(trial_of(seed=1, vary=("init",))), run(trial_of(seed=2, vary=("init",)))
    assert fixed[0].data_digests == fixed[1].data_digests
    assert fixed[0].curves["train/loss"] != fixed[1].curves["train/loss"]


def test_every_method_sees_the_same_batches(trial_of: Trials, run: Run) -> None:
    outcomes = [run(trial_of(method)) for method in ("lora", "lorta", "full")]
    assert len({json.dumps(o.data_digests, sort_keys=True) for o in outcomes}) == 1
    assert len({o.usage.model_dump_json() for o in outcomes}) == 1


@pytest.mark.parametrize("micro", [1, 3, 8])
def test_micro_batches_give_the_losses_of_the_global_batch(trial_of: Trials, run: Run, micro: int) -> None:
    whole, parts = run(trial_of()), run(trial_of(training={"micro_batch": micro}))
    assert whole.curves["train/learning_rate"] == parts.curves["train/learning_rate"]
    for (_, a), (_, b) in zip(whole.curves["train/loss"], parts.curves["train/loss"], strict=True):
        assert a == pytest.approx(b, rel=1e-5)


def test_the_select_phase_never_reads_the_test_split(trial_of: Trials, run: Run) -> None:
    select, report = run(trial_of(phase="select")), run(trial_of(phase="report"))
    assert (select.usage.test_reads, report.usage.test_reads) == (0, 1)
    assert not [name for name in select.metrics if name.startswith("test/")]
    assert "test" not in select.data_digests and "test" in report.data_digests


def test_the_untuned_model_takes_no_step(trial_of: Trials, run: Run) -> None:
    outcome = run(trial_of(BASE, capacity={}, training={"steps": 0, "learning_rate": 0.0}))
    assert outcome.status == "finished"
    assert outcome.usage.steps == 0 and outcome.counts is not None and outcome.counts.trainable == 0
    assert {"selection/f1", "test/f1"} <= set(outcome.metrics)


def test_the_kept_state_is_the_best_evaluation(trial_of: Trials, run: Run, tmp_path: Path) -> None:
    # A learning rate this large makes the loss rise again, so that the last evaluation is not the best one.
    training = {"learning_rate": 3.0, "steps": 8, "checkpoint": {"best": "loss", "evaluations": 8}, "clip": None}
    outcome = run(trial_of("full", training=training))
    losses = dict(outcome.curves["selection/loss"])
    assert outcome.best_step == min(losses, key=lambda step: (losses[step], step))
    assert outcome.best_step != 8
    assert outcome.metrics["selection/loss"] == losses[outcome.best_step]


def test_a_diverged_trial_is_an_outcome(trial_of: Trials, run: Run) -> None:
    outcome = run(trial_of("full", training={"learning_rate": 1e30, "steps": 8, "clip": None}))
    assert outcome.status == "diverged"
    assert outcome.error is not None and "not finite at step" in outcome.error
    assert outcome.curves["train/loss"] and not outcome.metrics
    assert {"train", "selection", "order"} <= set(outcome.data_digests), "the audit needs them for failed trials too"


def test_a_crash_is_an_outcome_with_its_traceback(trial_of: Trials, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: object, step: int, steps: int) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(registry.method_type("lora"), "before_step", broken)
    outcome = run(trial_of())
    assert outcome.status == "error"
    assert outcome.error is not None and "planted" in outcome.error and "before_step" in outcome.error


def test_out_of_memory_is_told_from_a_crash(trial_of: Trials, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def greedy(self: object, step: int, steps: int) -> None:
        import torch

        torch.empty(2**60)

    monkeypatch.setattr(registry.method_type("lora"), "before_step", greedy)
    assert run(trial_of()).status == "out_of_memory"


def test_a_trial_past_its_time_limit_ends(trial_of: Trials, run: Run) -> None:
    outcome = run(trial_of(training={"steps": 100_000}), time_limit=0.5)
    assert outcome.status == "error"
    assert outcome.error is not None and "time limit" in outcome.error


def test_a_full_disk_is_reported_and_leaves_nothing_half_written(
    trial_of: Trials, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial = trial_of()

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    for place in ("trainers.recording.pq.write_table", "trainers.folders.write_checksums"):
        with monkeypatch.context() as patch:
            patch.setattr(place, full)
            with pytest.raises(StorageError, match="no space left at .* Fix: free space"):
                worker.run(Job(trial, "attempt", str(tmp_path)))
        assert not list(OutcomeStore(tmp_path / "outcomes").ids())
    worker.run(Job(trial, "attempt", str(tmp_path)))
    assert list(OutcomeStore(tmp_path / "outcomes").ids()) == [trial.id]


def test_what_a_trial_leaves_on_disk(trial_of: Trials, worker: Worker, tmp_path: Path) -> None:
    trial = trial_of()
    signs: list[Progress] = []
    worker.run(Job(trial, "attempt", str(tmp_path)), signs.append)
    folder = OutcomeStore(tmp_path / "outcomes").folder(trial.id)
    assert {p.name for p in folder.iterdir()} == {"trial.json", "outcome.json", "predictions.parquet", "adapter", "SHA256SUMS"}
    assert Trial.model_validate_json((folder / "trial.json").read_text()) == trial
    table = pq.read_table(folder / "predictions.parquet").to_pydict()
    assert table["split"] == ["selection"] * 4 + ["test"] * 4
    assert all(table["group"]) and {"id", "prediction", "em", "f1"} <= set(table)
    assert "reference" not in table, "each question has several right answers"
    stored = load_file(folder / "adapter" / "adapter.safetensors")
    outcome = OutcomeStore(tmp_path / "outcomes").read(trial.id)
    assert outcome is not None and outcome.counts is not None
    assert sum(t.numel() for t in stored.values()) == outcome.counts.stored
    assert [sign.step for sign in signs if sign.loss is not None] == [1, 2, 3, 4]
    assert {p.name for p in tmp_path.iterdir()} == {"outcomes"}


def test_what_a_trial_costs_is_measured(trial_of: Trials, run: Run) -> None:
    profile = run(trial_of()).profile
    assert profile.seconds_per_step is not None and profile.seconds_per_step > 0
    assert 0 < profile.train_seconds <= profile.wall_seconds
    assert profile.peak_bytes is not None and profile.peak_bytes > 10**8
    assert profile.flops is not None and profile.macs is not None and profile.forward_flops is not None
    assert 0 < 3 * profile.forward_flops < 2 * profile.flops < 4.5 * profile.macs
    assert profile.load_seconds is not None and 0 < profile.load_seconds < profile.wall_seconds


def test_the_update_is_no_part_of_the_operations(trial_of: Trials, run: Run) -> None:
    plain, clipped = run(trial_of(training={"clip": None})), run(trial_of(training={"weight_decay": 0.1}))
    assert plain.profile.flops == clipped.profile.flops


def test_the_untuned_model_has_memory_but_nothing_to_load(trial_of: Trials, run: Run) -> None:
    profile = run(trial_of(BASE, targets=())).profile
    assert profile.peak_bytes is not None and profile.peak_bytes > 10**8
    assert profile.load_seconds is profile.adapter_bytes is profile.flops is None


def test_virtual_tokens_are_charged_to_the_operations(trial_of: Trials, run: Run) -> None:
    few, many = (run(trial_of("peft/prefix_tuning", capacity={"num_virtual_tokens": n})) for n in (1, 32))
    assert few.profile.flops is not None and many.profile.flops is not None and many.profile.flops > few.profile.flops
    assert many.usage.virtual_tokens == 32 * few.usage.virtual_tokens == 32 * many.usage.examples


def test_data_that_changed_since_the_plan_is_not_trained_on(trial_of: Trials, run: Run) -> None:
    trial = trial_of()
    other = trial.model_copy(update={"data": trial.data.model_copy(update={"digest": "0" * 64})})
    outcome = run(other)
    assert outcome.status == "error" and outcome.error is not None and "planned" in outcome.error


def test_a_bf16_base_trains_adapters_in_fp32(trial_of: Trials, worker: Worker, tmp_path: Path) -> None:
    trial = trial_of(model=ModelRef(id="micro-llama", dtype="bfloat16"))
    worker.run(Job(trial, "attempt", str(tmp_path)))
    stored = load_file(OutcomeStore(tmp_path / "outcomes").folder(trial.id) / "adapter" / "adapter.safetensors")
    assert {str(t.dtype) for t in stored.values()} == {"torch.float32"}


def test_replay_of_a_missing_file_is_one_line(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "trainers.worker", str(tmp_path / "none.json")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "Traceback" not in done.stderr
