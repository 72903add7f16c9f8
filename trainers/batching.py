"""Turns token sequences into padded tensors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from trainers.data import TrainSequence
from trainers.engine import Batch

IGNORED = -100
T = TypeVar("T")


def left_padded(rows: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Return tokens (B, T), padded on the left, and their attention mask (B, T)."""
    width = max(len(row) for row in rows)
    ids_BT = torch.tensor([[pad] * (width - len(row)) + list(row) for row in rows], device=device)
    mask_BT = torch.tensor([[0] * (width - len(row)) + [1] * len(row) for row in rows], device=device)
    return ids_BT, mask_BT


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


def chunks(order: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    """Cut a sequence into runs of `size`."""
    for start in range(0, len(order), size):
        yield order[start : start + size]
