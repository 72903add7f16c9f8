"""Trials of encoders: a class or a number for each text, with AdamW and with LoKO."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from search_spaces.trial import BASE, ModelRef, Training, Trial
from trainers import loop, models, registry
from trainers.adapters.attach import attached
from trainers.batches import LabelBatch, label_losses
from trainers.batching import make_label_batch
from trainers.data import LabelledText, resolve
from trainers.engine import Engine
from trainers.evaluate import evaluate
from trainers.outcomes import OutcomeStore
from trainers.results import Job, Outcome, Progress
from trainers.schedules import learning_rate_factor
from trainers.worker import Worker

Trials = Callable[..., Trial]
Run = Callable[..., Outcome]
ENCODER = ModelRef(id="micro-bert")
LOKO: dict[str, Any] = {"optimizer": "loko"}


@pytest.fixture
def label_trial(trial_of: Trials) -> Trials:
    """Makes a trial of LoRA on the micro encoder."""

    def make(task: str, **changes: Any) -> Trial:
        return trial_of(changes.pop("method", "lora"), task=task, model=ENCODER, **changes)

    return make


def texts(labels: tuple[int | float, ...] = (1, 0, 2), segments: bool = False) -> list[LabelledText]:
    draw = torch.Generator().manual_seed(0)
    rows = [tuple(torch.randint(0, 250, (n,), generator=draw).tolist()) for n in (9, 14, 5)]
    return [LabelledText(row, (0,) * len(row) if segments else (), label) for row, label in zip(rows, labels, strict=True)]


@pytest.mark.parametrize("training", [{}, LOKO], ids=["adamw", "loko"])
@pytest.mark.parametrize(
    ("task", "metrics", "head"), [("sst2", {"accuracy"}, 16 * 17 + 2 * 17), ("stsb", {"pearson", "spearman"}, 17 * 17)]
)
def test_an_encoder_is_trained_on_labels(
    label_trial: Trials, worker: Worker, tmp_path: Path, task: str, metrics: set[str], head: int, training: dict[str, Any]
) -> None:
    trial = label_trial(task, training=training)
    worker.run(Job(trial, "attempt", str(tmp_path)))
    store = OutcomeStore(tmp_path / "outcomes")
    outcome = store.read(trial.id)
    assert outcome is not None and outcome.status == "finished", outcome and outcome.error
    assert set(outcome.metrics) == {f"{split}/{name}" for split in ("selection", "test") for name in (*metrics, "loss")}
    assert outcome.counts is not None and (outcome.counts.peak, outcome.counts.head) == (256, head)
    assert (outcome.usage.examples, outcome.usage.target_tokens) == (16, 0)
    assert ("train/learning_rate" in outcome.curves) == (not training), "there is no learning rate to show"
    assert outcome.profile.flops is not None and outcome.profile.flops > 0
    table = pq.read_table(store.folder(trial.id) / "predictions.parquet").to_pydict()
    for column in ("prediction", "reference"):
        assert len(table[column]) == 8 and all(isinstance(value, int if task == "sst2" else float) for value in table[column])
    if task == "sst2":
        right = [a == b for a, b, split in zip(table["prediction"], table["reference"], table["split"], strict=True) if split == "test"]
        assert sum(right) / len(right) == outcome.metrics["test/accuracy"]


@pytest.mark.parametrize("training", [{}, LOKO], ids=["adamw", "loko"])
def test_the_same_trial_twice_gives_the_same_numbers_and_the_same_budget(label_trial: Trials, run: Run, training: dict[str, Any]) -> None:
    trial = label_trial("sst2", training={"dropout": 0.1, **training})
    first, second, other = run(trial), run(trial), run(label_trial("sst2"))
    assert (first.metrics, first.curves) == (second.metrics, second.curves)
    assert first.usage == other.usage and first.data_digests == other.data_digests


@pytest.mark.parametrize("task", ["sst2", "stsb"])
@pytest.mark.parametrize(("training", "tolerance"), [({}, 1e-4), (LOKO, 0.0)], ids=["adamw", "loko"])
def test_micro_batches_give_the_losses_of_the_global_batch(
    label_trial: Trials, run: Run, task: str, training: dict[str, Any], tolerance: float
) -> None:
    whole, parts = run(label_trial(task, training=training)), run(label_trial(task, training={**training, "micro_batch": 3}))
    for (_, a), (_, b) in zip(whole.curves["train/loss"], parts.curves["train/loss"], strict=True):
        assert a == pytest.approx(b, rel=tolerance, abs=0)


@pytest.mark.parametrize("step", [1, 4])
@pytest.mark.parametrize("task", ["sst2", "stsb"])
def test_a_continued_filter_ends_with_the_numbers_of_an_undisturbed_one(
    label_trial: Trials, run: Run, worker: Worker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: int, task: str
) -> None:
    class Killed(BaseException):
        """Stands for the end of the process."""

    def report(progress: Progress) -> None:
        if progress.step == step and progress.loss is not None:
            raise Killed

    monkeypatch.setattr(loop, "CHECKPOINT_SECONDS", 0.0)
    trial = label_trial(task, training={**LOKO, "steps": 6, "dropout": 0.1, "checkpoint": {"best": "loss", "evaluations": 6}})
    undisturbed = run(trial)
    with pytest.raises(Killed):
        worker.run(Job(trial, "first", str(tmp_path / "disturbed")), report)
    continued = run(trial, storage=tmp_path / "disturbed")
    assert continued.curves == undisturbed.curves and continued.metrics == undisturbed.metrics


def test_settings_of_the_optimiser_change_the_numbers(label_trial: Trials, run: Run) -> None:
    plain, other = label_trial("sst2", training=LOKO), label_trial("sst2", training={**LOKO, "optimizer_settings": {"p0": 1.0}})
    assert plain.id != other.id
    assert run(plain).curves["train/loss"] != run(other).curves["train/loss"]


def test_texts_are_cut_to_the_positions_and_a_cut_of_one_method_alone_is_refused(label_trial: Trials, run: Run, tmp_path: Path) -> None:
    (tmp_path / "sst2").mkdir()
    for split in ("train", "validation"):
        rows = [{"sentence": f"{split} {n} " + "film " * 500, "label": n % 2, "idx": n} for n in range(8)]
        (tmp_path / "sst2" / f"{split}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    ref = resolve(registry.task("sst2"), str(tmp_path), train=4, selection=2, test=2, seed=0)
    changes: dict[str, Any] = {"data": ref, "training": {"max_length": 4000, "steps": 1, "batch_size": 2}}
    assert run(label_trial("sst2", **changes)).status == "finished"
    refused = run(label_trial("sst2", method="prompt", capacity={"tokens": 3}, **changes))
    assert refused.status == "error"
    assert refused.error == "max_length 4000 and 3 virtual tokens exceed the model's 2048 positions. Fix: training.max_length: 2045"
    changes["training"]["max_length"] = 2045
    fitting = run(label_trial("sst2", method="prompt", capacity={"tokens": 3}, **changes))
    assert fitting.status == "finished", fitting.error
    assert fitting.usage.text_tokens == 2 * 2045


def test_a_filter_that_breaks_down_is_a_divergence(label_trial: Trials, run: Run) -> None:
    outcome = run(label_trial("sst2", training={**LOKO, "optimizer_settings": {"r0": 1e300}}))
    assert (outcome.status, outcome.error) == ("diverged", "the gain of the filter is not finite at step 1")


@pytest.mark.parametrize("task", ["sst2", "stsb"])
def test_a_last_step_that_breaks_the_model_is_a_divergence(label_trial: Trials, run: Run, task: str) -> None:
    outcome = run(label_trial(task, training={"steps": 1, "learning_rate": 1e30, "warmup_ratio": 0.0, "scheduler": "constant"}))
    assert (outcome.status, outcome.error) == ("diverged", "the selection loss is not finite at step 1")


def test_the_untuned_model_predicts_too(label_trial: Trials, run: Run) -> None:
    outcome = run(label_trial("stsb", method=BASE, capacity={}, training={"steps": 0, "learning_rate": 0.0}))
    assert outcome.status == "finished", outcome.error
    assert outcome.counts is not None and outcome.counts.trainable == 0
    assert -1 <= outcome.metrics["test/pearson"] <= 1


def test_a_task_of_texts_on_an_encoder_is_an_outcome_with_the_reason(label_trial: Trials, run: Run) -> None:
    outcome = run(label_trial("squad"))
    assert outcome.status == "error" and outcome.error is not None and "classification head cannot write" in outcome.error


def test_loko_on_a_language_model_is_an_outcome_with_the_reason(trial_of: Trials, run: Run) -> None:
    outcome = run(trial_of(training=LOKO))
    assert outcome.status == "error" and outcome.error is not None and "learns from labels" in outcome.error


def test_a_regulariser_has_no_place_in_a_filter(label_trial: Trials, run: Run) -> None:
    outcome = run(label_trial("sst2", method="adalora", capacity={"rank": 2}, training=LOKO))
    assert outcome.status == "error" and outcome.error is not None and "adds a regulariser to the loss" in outcome.error


def test_a_diverged_filter_is_told_from_a_crash(label_trial: Trials, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(LabelBatch, "outputs", lambda self, model: torch.full((len(self.labels), 2), math.nan))
    assert run(label_trial("sst2", training=LOKO)).status == "diverged"


def test_a_sentence_task_is_chosen_by_a_language_model(trial_of: Trials, run: Run) -> None:
    outcome = run(trial_of(task="sst2"))
    assert outcome.status == "finished", outcome.error
    assert 0 <= outcome.metrics["test/accuracy"] <= 1


def test_constant_predictions_score_zero_and_not_nothing() -> None:
    base, task = models.load(ENCODER, torch.device("cpu")), registry.task("stsb")
    from trainers.data import load

    found = load(
        task,
        resolve(task, "embedded", train=8, selection=3, test=3, seed=0),
        base.tokenizer,
        max_length=300,
        max_new_tokens=4,
        has_head=True,
    )
    with attached(base.model, registry.method_type("lora"), ["q"], capacity={"rank": 2}, settings={}, num_labels=1) as model:
        with torch.no_grad():
            for copy in model.head.values:
                copy.zero_()
        result = evaluate(model, base.tokenizer, task, found.selection, 4)
    assert result.predictions == [0.0, 0.0, 0.0]
    assert result.scores.metrics == {"pearson": 0.0, "spearman": 0.0}
    assert result.loss == pytest.approx(sum(text.label**2 for text in found.selection.texts) / 3)


@pytest.mark.parametrize(("labels", "num_labels"), [((1, 0, 2), 3), ((0.5, 4.0, 2.5), 1)])
@pytest.mark.parametrize("micro", [3, 1])
def test_deepspeed_takes_the_steps_of_plain_torch_on_labels(label_trial: Trials, labels: Any, num_labels: int, micro: int) -> None:
    base = models.load(ENCODER, torch.device("cpu"))
    setting: Training = label_trial("sst2", training={"batch_size": 3, "micro_batch": micro, "clip": None, "weight_decay": 0.1}).training
    rows, pad, device = texts(labels), base.tokenizer.pad_token_id, torch.device("cpu")
    results = []
    for plain in (True, False):
        with attached(
            base.model, registry.method_type("lora"), ["q", "v"], capacity={"rank": 2}, settings={}, num_labels=num_labels
        ) as model:
            if plain:
                optimizer = torch.optim.AdamW(model.trainable().values(), lr=0.01, weight_decay=0.1)
                for step in range(4):
                    optimizer.param_groups[0]["lr"] = 0.01 * learning_rate_factor(setting, step, 4)
                    # One text after the other, without padding.
                    outputs = [model(torch.tensor([row.ids]), torch.ones(1, len(row.ids), dtype=torch.int64)).logits for row in rows]
                    label_losses(torch.cat(outputs), torch.tensor(labels)).mean().backward()
                    optimizer.step()
                    optimizer.zero_grad()
            else:
                engine = Engine(model, setting, 4, head=lambda name: False)
                for _ in range(4):
                    engine.step([make_label_batch(rows[i : i + micro], pad, device) for i in range(0, 3, micro)], 3)
                engine.close()
            results.append({name: p.detach().clone() for name, p in model.trainable().items()})
    for name, expected in results[0].items():
        torch.testing.assert_close(results[1][name], expected, rtol=1e-3, atol=1e-5)


def test_the_learning_rate_of_the_head_changes_the_head_alone(label_trial: Trials) -> None:
    base, states = models.load(ENCODER, torch.device("cpu")), []
    for rate in (None, 0.05):
        setting = label_trial("sst2", training={"batch_size": 3, "head_learning_rate": rate, "warmup_ratio": 0.0}).training
        with attached(base.model, registry.method_type("lora"), ["q", "v"], capacity={"rank": 2}, settings={}, num_labels=3) as model:
            before = {name: p.detach().clone() for name, p in model.trainable().items()}
            engine = Engine(model, setting, 4, head=loop.is_head)
            engine.step([make_label_batch(texts(), base.tokenizer.pad_token_id, torch.device("cpu"))], 3)
            engine.close()
            states.append({name: p.detach() - before[name] for name, p in model.trainable().items()})
    same, other = states
    moved = {name for name, update in same.items() if bool(update.any())}
    assert {loop.is_head(name) for name in moved} == {True, False}
    for name, update in other.items():
        # AdamW's first step is as long as the learning rate.
        torch.testing.assert_close(update, (5.0 if loop.is_head(name) else 1.0) * same[name], rtol=1e-3, atol=1e-6)


def test_the_passes_of_a_filter_are_counted(label_trial: Trials) -> None:
    base, device = models.load(ENCODER, torch.device("cpu")), torch.device("cpu")
    setting = label_trial("sst2", training={**LOKO, "batch_size": 3}).training
    counted = {}
    for num_labels in (3, 5):
        with attached(
            base.model, registry.method_type("lora"), ["q", "v"], capacity={"rank": 2}, settings={}, num_labels=num_labels
        ) as model:
            engine = Engine(model, setting, 4, head=lambda name: False)
            with FlopCounterMode(display=False) as counter:
                engine.step([make_label_batch(texts(), 257, device)], 3)
            counted[num_labels] = counter.get_total_flops()
    # One forward pass, about as much work as a backward pass through frozen weights, and a backward pass for all classes but one.
    assert counted[5] / counted[3] == pytest.approx(5 / 3, rel=0.1)


def test_rows_of_a_batch_are_without_padding() -> None:
    rows = texts(segments=True)
    batch = make_label_batch(rows, 257, torch.device("cpu"))
    assert batch.input_ids.shape == (3, 14) and batch.attention_mask.sum(1).tolist() == [9, 14, 5]
    for row, single in zip(rows, batch.rows(), strict=True):
        assert tuple(single.input_ids[0].tolist()) == row.ids and bool(single.attention_mask.all())
        assert single.segments is not None and single.segments.shape == single.input_ids.shape
        assert single.labels.tolist() == [row.label]
