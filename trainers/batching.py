"""Turns token sequences into padded tensors."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import TypeVar, cast

import torch
from torch import Tensor

from trainers.batches import IGNORED, Batch, LabelBatch, MicroBatch, OptionBatch
from trainers.data import Choice, LabelledText, TrainingItem, TrainSequence

T = TypeVar("T")
ROWS_PER_BATCH = 32
"""Most rows of one forward pass in evaluation."""
TOKENS_PER_BATCH = 8192
"""Most tokens of one forward pass in evaluation, padding and what is cached included, where a batch has several rows."""
PADDING_PER_BATCH = 16
"""Most tokens of padding, beside one for 32 of text: a pass of its own reads all weights once more, which costs about as much."""


def left_padded(rows: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return tokens (B, T), padded on the left, and their attention mask (B, T)."""
    width = max(len(row) for row in rows)
    ids_BT = torch.tensor([[pad] * (width - len(row)) + list(row) for row in rows], device=device)
    mask_BT = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids_BT, mask_BT


def right_padded(rows: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return tokens (B, T), padded on the right, and their attention mask (B, T)."""
    width = max(len(row) for row in rows)
    ids_BT = torch.tensor([[*row, *[pad] * (width - len(row))] for row in rows], device=device)
    mask_BT = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows], device=device)
    return ids_BT, mask_BT


def collated(items: Sequence[TrainingItem], pad: int, device: torch.device) -> MicroBatch:
    """Collate what is trained on, all of one kind."""
    if isinstance(items[0], LabelledText):
        return make_label_batch(cast("Sequence[LabelledText]", items), pad, device)
    if isinstance(items[0], Choice):
        return make_option_batch(cast("Sequence[Choice]", items), pad, device)
    return make_batch(cast("Sequence[TrainSequence]", items), pad, device)


def make_batch(sequences: Sequence[TrainSequence], pad: int, device: torch.device) -> Batch:
    """Collate sequences; targets end at the last position of each row."""
    ids_BT, mask_BT = left_padded([s.ids for s in sequences], pad, device)
    # A first token has nothing before it to be predicted from.
    predicted = [min(s.targets, len(s.ids) - 1) for s in sequences]
    keep = max(predicted)
    targets_BK = ids_BT[:, -keep:].clone()
    for row, count in zip(targets_BK, predicted, strict=True):
        row[: keep - count] = IGNORED
    return Batch(ids_BT, mask_BT, targets_BK)


def make_option_batch(choices: Sequence[Choice], pad: int, device: torch.device) -> OptionBatch:
    """Collate the options of examples; those of one example that are read from the same tokens share a row."""
    inputs = [(index, option.ids[:-1]) for index, choice in enumerate(choices) for option in choice.options]
    rows = {key: row for row, key in enumerate(dict.fromkeys(inputs))}
    ids_RT, mask_RT = left_padded([ids for _, ids in rows], pad, device)
    counts = [len(choice.options) for choice in choices]
    firsts = accumulate(counts, initial=0)
    options = [[*range(first, first + count), *[-1] * (max(counts) - count)] for first, count in zip(firsts, counts, strict=False)]
    return OptionBatch(
        ids_RT,
        mask_RT,
        targets=padded_targets([option.ids[-option.targets :] for choice in choices for option in choice.options], device),
        rows=torch.tensor([rows[key] for key in inputs], device=device),
        options=torch.tensor(options, device=device),
        right=torch.tensor([choice.right for choice in choices], device=device),
    )


def padded_targets(targets: Sequence[Sequence[int]], device: torch.device) -> Tensor:
    """Return the targets of options (O, K) at the last of K positions, one at least, and -100 before them."""
    width = max(1, *map(len, targets))
    return torch.tensor([[IGNORED] * (width - len(tokens)) + list(tokens) for tokens in targets], device=device)


def make_label_batch(texts: Sequence[LabelledText], pad: int, device: torch.device) -> LabelBatch:
    """Collate labelled texts; encoders number positions from the left, so padding is on the right."""
    ids_BT, mask_BT = right_padded([text.ids for text in texts], pad, device)
    segments_BT = right_padded([text.segments for text in texts], 0, device)[0] if texts[0].segments else None
    return LabelBatch(ids_BT, mask_BT, segments_BT, torch.tensor([text.label for text in texts], device=device))


def chunks(order: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Cut a sequence into runs of `size`."""
    for start in range(0, len(order), size):
        yield order[start : start + size]


def packed(lengths: Sequence[int], room: int = 0, workers: int = 1) -> Iterator[list[int]]:
    """Group sequences for forward passes: neighbours in length, as many as the limits above allow, one at least.

    Batches depend on the lengths alone, so that padding, and with it rounding, is the same for every method.

    Args:
        lengths: tokens of each sequence.
        room: tokens that each row takes besides.
        workers: those that share the batches: there is one for each, if there are rows enough.

    Yields:
        Indices, the shortest sequences first.
    """
    most = rows_each(len(lengths), ROWS_PER_BATCH, workers)
    batch: list[int] = []
    for index in sorted(range(len(lengths)), key=lambda i: (lengths[i], i)):
        if batch and not (len(batch) < most and _fits([lengths[i] for i in (*batch, index)], room)):
            yield batch
            batch = []
        batch.append(index)
    if batch:
        yield batch


def rows_each(count: int, most: int, workers: int) -> int:
    """Return how many rows a batch may have, so that there is a batch for every worker.

    Args:
        count: rows in all.
        most: rows that the batches of a single worker may have.
        workers: those that share the batches.
    """
    return max(1, min(most, math.ceil(count / workers)))


def _fits(ascending: Sequence[int], room: int) -> bool:
    rows, width, text = len(ascending), ascending[-1], sum(ascending)
    return rows * (width + room) <= TOKENS_PER_BATCH and rows * width - text <= PADDING_PER_BATCH + text // 32
