"""Micro-batches, and the losses of a model on them.

Shapes: B micro-batch, T tokens, K positions kept at the end, V vocabulary, C classes, or 1 for a number.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

IGNORED = -100
"""Stands in `targets` where a token is not a target."""


@dataclass(frozen=True)
class Batch:
    """Sequences of one micro-batch, padded on the left so that all targets end at the last position."""

    input_ids: Tensor
    """(B, T)"""
    attention_mask: Tensor
    """(B, T)"""
    targets: Tensor
    """(B, K) the last K tokens, with -100 where a token is not a target."""

    @property
    def target_tokens(self) -> int:
        """Number of targets."""
        return int((self.targets >= 0).sum())

    @property
    def weight(self) -> int:
        """What the loss of a global batch is the mean over: target tokens."""
        return self.target_tokens

    def losses(self, model: nn.Module) -> Tensor:
        """Return the terms of the loss; their sum over the weight is the mean."""
        return token_losses(model, self)


@dataclass(frozen=True)
class LabelBatch:
    """Labelled texts of one micro-batch, padded on the right."""

    input_ids: Tensor
    """(B, T)"""
    attention_mask: Tensor
    """(B, T)"""
    segments: Tensor | None
    """(B, T) `token_type_ids`; None for a model that is not told."""
    labels: Tensor
    """(B,) whole numbers for classes, floating point for numbers."""

    target_tokens = 0

    @property
    def weight(self) -> int:
        """What the loss of a global batch is the mean over: examples."""
        return len(self.labels)

    def outputs(self, model: nn.Module) -> Tensor:
        """Return the head's outputs (B, C) in fp32: logits of the classes, or the predicted number."""
        options = {} if self.segments is None else {"token_type_ids": self.segments}
        logits: Tensor = model(self.input_ids, self.attention_mask, **options).logits
        return logits.float()

    def losses(self, model: nn.Module) -> Tensor:
        """Return the terms of the loss, (B,); their sum over the weight is the mean."""
        return label_losses(self.outputs(model), self.labels)

    def rows(self) -> Iterator[LabelBatch]:
        """Yield every example as a batch of its own, without padding."""
        for row, length in enumerate(self.attention_mask.sum(1).tolist()):
            here = slice(row, row + 1), slice(0, length)
            segments = None if self.segments is None else self.segments[here]
            yield LabelBatch(self.input_ids[here], self.attention_mask[here], segments, self.labels[row : row + 1])


def token_losses(model: nn.Module, batch: Batch) -> Tensor:
    """Return the cross-entropy of every kept position, (B, K), zero where it is not a target; in fp32."""
    keep = batch.targets.shape[1]
    output = model(batch.input_ids, batch.attention_mask, logits_to_keep=keep + 1)
    logits_BKV = output.logits[:, -keep - 1 : -1].float()
    return nn.functional.cross_entropy(logits_BKV.transpose(1, 2), batch.targets, ignore_index=IGNORED, reduction="none")


def label_losses(outputs_BC: Tensor, labels_B: Tensor) -> Tensor:
    """Return the cross-entropy of every example's class, or the squared error of its number, (B,)."""
    if labels_B.is_floating_point():
        return (outputs_BC[:, 0] - labels_B).square()
    return nn.functional.cross_entropy(outputs_BC, labels_B, reduction="none")
