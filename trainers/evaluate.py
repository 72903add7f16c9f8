"""Evaluation: the loss of a split, and what the model answers: texts, options, or the labels of a classification head.

Shapes: B batch, C classes, N options, K batches, R rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy
from transformers import PreTrainedTokenizerFast

from trainers.adapters.attach import AdaptedModel
from trainers.adapters.copies import has_head
from trainers.api import Prediction, Scores, Task
from trainers.batches import label_losses, token_losses
from trainers.batching import make_batch, make_label_batch, packed
from trainers.data import EvalSplit, LabelledText, TrainSequence
from trainers.dealing import ALONE, dealt, in_step
from trainers.generation import generate
from trainers.group import Group
from trainers.options import option_scores


@dataclass(frozen=True)
class Evaluation:
    """What a split says of an adapter."""

    loss: float
    """Mean over the target tokens, or over the examples where options or labels are trained on."""
    scores: Scores
    predictions: list[Prediction]


Heartbeat = Callable[[], None]


def evaluate(
    model: AdaptedModel,
    tokenizer: PreTrainedTokenizerFast,
    task: Task,
    split: EvalSplit,
    max_new_tokens: int,
    heartbeat: Heartbeat = lambda: None,
    group: Group = ALONE,
) -> Evaluation:
    """Score an adapted model on a split: the task's metrics, none where the loss is not finite, and the loss that is trained on.

    Args:
        heartbeat: called between batches; may raise `TimeLimit` to end the evaluation.
        group: the workers that share the forward passes; each returns the whole.

    Raises:
        TimeLimit: the heartbeat of one of them raised it.
    """
    form = task.card.form_on(has_head=has_head(model.base))
    predictions: list[Prediction]
    with model.evaluating():
        if form == "label":
            loss, predictions = _label(model, tokenizer, split.texts, heartbeat, group)
        elif form == "choose":
            loss, predictions = _choose(model, tokenizer, split, heartbeat, group)
        else:
            loss = _loss(model, tokenizer, split.sequences, heartbeat, group)
            predictions = [*generate(model, tokenizer, [item.prompt for item in split.items], max_new_tokens, heartbeat, group)]
    if not math.isfinite(loss):
        return Evaluation(loss, Scores(metrics={}, rows=None), predictions)
    scores = task.score(predictions, [e.references for e in split.examples])
    return Evaluation(loss, replace(scores, metrics=_defined(scores.metrics)), predictions)


def _defined(metrics: Mapping[str, float]) -> dict[str, float]:
    """Score what is undefined, as the correlation of a constant prediction, as worthless: a trial must not win or vanish by it."""
    return {name: value if math.isfinite(value) else 0.0 for name, value in metrics.items()}


def _label(
    model: AdaptedModel, tokenizer: PreTrainedTokenizerFast, texts: Sequence[LabelledText], heartbeat: Heartbeat, group: Group
) -> tuple[float, list[Prediction]]:
    """Return the mean loss, and every text's class or number."""
    batches = list(packed([len(text.ids) for text in texts], workers=group.size))
    sums_K, found_R = torch.zeros(len(batches), dtype=torch.float64), torch.zeros(len(texts), dtype=torch.float64)
    with in_step(model, group):
        for place, rows in dealt(batches, group):
            batch = make_label_batch([texts[i] for i in rows], tokenizer.pad_token_id, _device(model))
            outputs_BC = batch.outputs(model)
            sums_K[place] = label_losses(outputs_BC, batch.labels).sum()
            found_R[rows] = (outputs_BC[:, 0] if batch.labels.is_floating_point() else outputs_BC.argmax(-1)).double().cpu()
            heartbeat()
    kind = type(texts[0].label)
    return sum(group.sum_(sums_K).tolist()) / len(texts), [kind(value) for value in group.sum_(found_R).tolist()]


def _loss(
    model: AdaptedModel, tokenizer: PreTrainedTokenizerFast, sequences: Sequence[TrainSequence], heartbeat: Heartbeat, group: Group
) -> float:
    """Return the mean loss of the target tokens."""
    return _token_loss(model, tokenizer, sequences, heartbeat, group) / sum(s.targets for s in sequences)


def _token_loss(
    model: AdaptedModel, tokenizer: PreTrainedTokenizerFast, sequences: Sequence[TrainSequence], heartbeat: Heartbeat, group: Group
) -> float:
    batches = list(packed([len(s.ids) for s in sequences], workers=group.size))
    sums_K = torch.zeros(len(batches), dtype=torch.float64)
    with in_step(model, group):
        for place, rows in dealt(batches, group):
            batch = make_batch([sequences[i] for i in rows], tokenizer.pad_token_id, _device(model))
            sums_K[place] = token_losses(model, batch).sum()
            heartbeat()
    return float(sum(group.sum_(sums_K).tolist()))


def _choose(
    model: AdaptedModel, tokenizer: PreTrainedTokenizerFast, split: EvalSplit, heartbeat: Heartbeat, group: Group
) -> tuple[float, list[Prediction]]:
    """Return the loss that is trained on, and the answer of every example's likeliest option."""
    texts = [item.options or () for item in split.items]
    scores = option_scores(model, texts, tokenizer.pad_token_id, heartbeat, group)
    chosen: list[Prediction] = [
        (example.answers or ())[int(scores_N.argmax())] for example, scores_N in zip(split.examples, scores, strict=True)
    ]
    if split.choices:
        losses = [cross_entropy(scores_N, torch.tensor(c.right)) for scores_N, c in zip(scores, split.choices, strict=True)]
        return float(torch.stack(losses).mean()), chosen
    return _loss_of_options(model, tokenizer, split.sequences, texts, scores, heartbeat, group), chosen


def _loss_of_options(
    model: AdaptedModel,
    tokenizer: PreTrainedTokenizerFast,
    sequences: Sequence[TrainSequence],
    texts: Sequence[Sequence[TrainSequence]],
    scores: Sequence[Tensor],
    heartbeat: Heartbeat,
    group: Group,
) -> float:
    """Return the mean loss of the target tokens of the right options, which have been scored; a text that is none of them is forwarded."""
    total, others = 0.0, []
    for sequence, options, scores_N in zip(sequences, texts, scores, strict=True):
        if sequence in options:
            total -= float(scores_N[options.index(sequence)]) * sequence.targets
        else:
            others.append(sequence)
    return (total + _token_loss(model, tokenizer, others, heartbeat, group)) / sum(s.targets for s in sequences)


def _device(model: AdaptedModel) -> torch.device:
    return next(model.base.parameters()).device
