"""The shape of a trial's batches, which the cost of a joint pass depends on. Free of torch."""

from __future__ import annotations

from typing import NamedTuple, Self

from search_spaces.trial import Trial


class BatchShape(NamedTuple):
    """What decides how large a trial's passes through the base are, besides its data."""

    batch_size: int
    micro_batch: int | None
    max_length: int
    max_new_tokens: int

    @classmethod
    def of(cls, trial: Trial) -> Self:
        """Return the shape of a trial's batches."""
        training = trial.training
        return cls(training.batch_size, training.micro_batch, training.max_length, training.max_new_tokens)
