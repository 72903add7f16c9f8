"""Turns token sequences into padded tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar, cast

import torch
from torch import Tensor

from trainers.batches import IGNORED, Batch, LabelBatch
from trainers.data import LabelledText, TrainSequence

T = TypeVar("T")


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


def collated(sequences: Sequence[TrainSequence | LabelledText], pad: int, device: torch.device) -> Batch | LabelBatch:
    """Collate sequences, all of one kind."""
    if isinstance(sequences[0], LabelledText):
        return make_label_batch(cast("Sequence[LabelledText]", sequences), pad, device)
    return make_batch(cast("Sequence[TrainSequence]", sequences), pad, device)


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


def make_label_batch(texts: Sequence[LabelledText], pad: int, device: torch.device) -> LabelBatch:
    """Collate labelled texts; encoders number positions from the left, so padding is on the right."""
    ids_BT, mask_BT = right_padded([text.ids for text in texts], pad, device)
    segments_BT = right_padded([text.segments for text in texts], 0, device)[0] if texts[0].segments else None
    return LabelBatch(ids_BT, mask_BT, segments_BT, torch.tensor([text.label for text in texts], device=device))


def chunks(order: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Cut a sequence into runs of `size`."""
    for start in range(0, len(order), size):
        yield order[start : start + size]
