"""A cell: one method at one capacity on one task and one base model. What a grid point is selected for, and what is reported."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from search_spaces.trial import BASE, Scalar, Trial

Capacity = tuple[tuple[str, Scalar], ...]
"""Capacity keys and values as a hashable value, sorted by key."""


@dataclass(frozen=True)
class Cell:
    """Names one entry of a board."""

    model: str
    task: str
    label: str
    capacity: Capacity = ()

    @property
    def config(self) -> dict[str, Scalar]:
        """The capacity as a mapping."""
        return dict(self.capacity)

    @property
    def is_base(self) -> bool:
        """Whether this is the untuned model."""
        return self.label == BASE

    def __str__(self) -> str:
        return f"{row_name(self.label, self.config)} on {self.task} with {self.model}"


def cell_of(trial: Trial) -> Cell:
    """Return the cell that a trial belongs to."""
    return Cell(trial.model.id, trial.task, trial.label, frozen_capacity(trial.method.capacity))


def frozen_capacity(capacity: Mapping[str, Scalar]) -> Capacity:
    """Return a capacity as a hashable value."""
    return tuple(sorted(capacity.items()))


def row_name(label: str, capacity: Mapping[str, Scalar]) -> str:
    """Return a label with its capacity, such as `lora (rank=8)`."""
    return f"{label} ({', '.join(f'{key}={value}' for key, value in capacity.items())})" if capacity else label
