"""Evaluation: loss, greedy generation with a stop string, the choice among options, and the labels of a classification head.

Shapes: B batch, T tokens, n virtual tokens, K kept positions, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from trainers.adapters.attach import AdaptedModel
from trainers.adapters.copies import has_head
from trainers.api import Prediction, Scores, Task
from trainers.batches import IGNORED, label_losses, token_losses
from trainers.batching import chunks, left_padded, make_batch, make_label_batch, right_padded
from trainers.data import EvalItem, EvalSplit, LabelledText, TrainSequence

ROWS_PER_BATCH = 32
"""Rows of one forward pass; fixed, so that padding, and with it rounding, is the same for every method."""


@dataclass(frozen=True)
class Evaluation:
    """What a split says of an adapter."""

    loss: float
    """Mean over the target tokens, or over the examples where labels are predicted."""
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
) -> Evaluation:
    """Score an adapted model on a split: the task's metrics, and the loss on its target tokens or labels.

    Args:
        heartbeat: called between batches; may raise to end the evaluation.
    """
    form = task.card.form_on(has_head=has_head(model.base))
    predictions: list[Prediction]
    with model.evaluating():
        if form == "label":
            loss, predictions = _label(model, tokenizer, split.texts, heartbeat)
        else:
            loss = _loss(model, tokenizer, split.sequences, heartbeat)
            if form == "generate":
                predictions = [*_generate(model, tokenizer, split.items, max_new_tokens, heartbeat)]
            else:
                predictions = _choose(model, tokenizer, split, heartbeat)
    scores = task.score(predictions, [e.references for e in split.examples])
    return Evaluation(loss, replace(scores, metrics=_defined(scores.metrics)), predictions)


def _defined(metrics: Mapping[str, float]) -> dict[str, float]:
    """Score what is undefined, as the correlation of a constant prediction, as worthless: a trial must not win or vanish by it."""
    return {name: value if math.isfinite(value) else 0.0 for name, value in metrics.items()}


def _label(
    model: AdaptedModel, tokenizer: PreTrainedTokenizerFast, texts: Sequence[LabelledText], heartbeat: Heartbeat
) -> tuple[float, list[Prediction]]:
    """Return the mean loss, and every text's class or number."""
    total, predictions = 0.0, [0.0] * len(texts)
    for rows in chunks(_by_length([len(text.ids) for text in texts]), ROWS_PER_BATCH):
        batch = make_label_batch([texts[i] for i in rows], tokenizer.pad_token_id, _device(model))
        outputs_BC = batch.outputs(model)
        total += float(label_losses(outputs_BC, batch.labels).sum())
        found = outputs_BC[:, 0] if batch.labels.is_floating_point() else outputs_BC.argmax(-1)
        for row, value in zip(rows, found.tolist(), strict=True):
            predictions[row] = value
        heartbeat()
    return total / len(texts), [*predictions]


def _loss(model: AdaptedModel, tokenizer: PreTrainedTokenizerFast, sequences: Sequence[TrainSequence], heartbeat: Heartbeat) -> float:
    device, total = _device(model), 0.0
    for rows in chunks(_by_length([len(s.ids) for s in sequences]), ROWS_PER_BATCH):
        batch = make_batch([sequences[i] for i in rows], tokenizer.pad_token_id, device)
        total += float(token_losses(model, batch).sum())
        heartbeat()
    return total / sum(s.targets for s in sequences)


def _generate(
    model: AdaptedModel, tokenizer: PreTrainedTokenizerFast, items: Sequence[EvalItem], max_new_tokens: int, heartbeat: Heartbeat
) -> list[str]:
    stops = {tokenizer("\n", add_special_tokens=False).input_ids[-1], tokenizer.eos_token_id}
    texts = [""] * len(items)
    for rows in chunks(_by_length([len(item.prompt) for item in items]), ROWS_PER_BATCH):
        written = _continue(model, tokenizer, [items[i].prompt for i in rows], stops, max_new_tokens, heartbeat)
        for row, tokens in zip(rows, written, strict=True):
            texts[row] = str(tokenizer.decode(tokens, skip_special_tokens=True)).strip()
    return texts


def _continue(
    model: AdaptedModel,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[Sequence[int]],
    stops: set[int],
    max_new_tokens: int,
    heartbeat: Heartbeat,
) -> list[list[int]]:
    """Write greedily after each prompt until a stop token, all rows of the batch in step; a row that has stopped leaves the batch."""
    ids_BT, mask_BT = left_padded(prompts, tokenizer.pad_token_id, _device(model))
    output = model(ids_BT, mask_BT, use_cache=True, logits_to_keep=1)
    mask_BT = _with_virtual(model, mask_BT)
    written: list[list[int]] = [[] for _ in prompts]
    open_rows = list(range(len(prompts)))
    for _ in range(max_new_tokens):
        heartbeat()
        next_B = output.logits[:, -1].argmax(-1)
        going = [n for n, token in enumerate(next_B.tolist()) if token not in stops]
        for n in going:
            written[open_rows[n]].append(int(next_B[n]))
        open_rows = [open_rows[n] for n in going]
        if not open_rows or len(written[open_rows[0]]) == max_new_tokens:
            break
        cache = output.past_key_values
        if len(going) < len(next_B):
            keep = torch.tensor(going, device=next_B.device)
            cache.batch_select_indices(keep)
            next_B, mask_BT = next_B[keep], mask_BT[keep]
        mask_BT = torch.cat([mask_BT, torch.ones_like(mask_BT[:, :1])], 1)
        output = model(next_B[:, None], mask_BT, past_key_values=cache, use_cache=True, logits_to_keep=1)
    return written


def _choose(model: AdaptedModel, tokenizer: PreTrainedTokenizerFast, split: EvalSplit, heartbeat: Heartbeat) -> list[Prediction]:
    chosen: list[Prediction] = []
    for example, item in zip(split.examples, split.items, strict=True):
        assert item.options is not None and example.answers is not None
        scores = option_scores(model, item.options, tokenizer.pad_token_id)
        chosen.append(example.answers[int(scores.argmax())])
        heartbeat()
    return chosen


def option_scores(model: AdaptedModel, options: Sequence[TrainSequence], pad: int) -> Tensor:
    """Return each option's mean log-probability over its target tokens, (B,).

    What the options have in common at their start is forwarded once; its keys and values are shared.
    """
    prefix = _common_prefix(options)
    cache: Any = None
    if prefix:
        ids = torch.tensor([options[0].ids[:prefix]], device=_device(model))
        cache = model(ids, torch.ones_like(ids), use_cache=True, logits_to_keep=1).past_key_values
        cache.batch_repeat_interleave(len(options))
    tails = [TrainSequence(option.ids[prefix:], option.targets) for option in options]
    ids_BT, mask_BT, targets_BT = _right_padded(tails, pad, _device(model))
    if cache is not None:
        seen = prefix + model.method.virtual_tokens()
        mask_BT = torch.cat([mask_BT.new_ones(len(options), seen), mask_BT], 1)
    logits_BTV = model(ids_BT, mask_BT, past_key_values=cache, use_cache=cache is not None).logits[:, -ids_BT.shape[1] :].float()
    losses_BT = torch.nn.functional.cross_entropy(
        logits_BTV[:, :-1].transpose(1, 2), targets_BT[:, 1:], ignore_index=IGNORED, reduction="none"
    )
    return -losses_BT.sum(1) / torch.tensor([o.targets for o in options], device=losses_BT.device)


def _common_prefix(options: Sequence[TrainSequence]) -> int:
    """Return the length of the longest common start that leaves every option its targets and the token before them."""
    limit = min(len(option.ids) - option.targets - 1 for option in options)
    length = 0
    while length < limit and len({option.ids[length] for option in options}) == 1:
        length += 1
    return length


def _right_padded(rows: Sequence[TrainSequence], pad: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    ids_BT, mask_BT = right_padded([row.ids for row in rows], pad, device)
    positions = range(ids_BT.shape[1])
    target_BT = torch.tensor([[i >= len(row.ids) - row.targets and i < len(row.ids) for i in positions] for row in rows], device=device)
    return ids_BT, mask_BT, ids_BT.masked_fill(~target_BT, IGNORED)


def _with_virtual(model: AdaptedModel, mask_BT: Tensor) -> Tensor:
    return torch.cat([mask_BT.new_ones(len(mask_BT), model.method.virtual_tokens()), mask_BT], 1)


def _by_length(lengths: Sequence[int]) -> list[int]:
    return sorted(range(len(lengths)), key=lambda i: (lengths[i], i))


def _device(model: AdaptedModel) -> torch.device:
    return next(model.base.parameters()).device
