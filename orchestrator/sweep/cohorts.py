"""Which trials begin together in one process: those whose steps take batches of the same width at the same time."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import NamedTuple

from search_spaces.trial import BASE, ModelRef, Trial
from trainers.packing.shape import BatchShape


class PackKey(NamedTuple):
    """What trials must have in common to share a process."""

    model: ModelRef
    task: str
    data: str
    shape: BatchShape
    width: int
    """How many of them may."""


class CohortKey(NamedTuple):
    """What trials must have in common to pass the base together in every step."""

    pack: PackKey
    order_seed: int
    batches: str
    budget: tuple[float | None, int | None]
    """Epochs and steps: those that train equally long make room for others at the same time."""
    trained: bool


def pack_key(trial: Trial, width: int) -> PackKey:
    """Return what the trials that share a process with this one have in common with it."""
    return PackKey(trial.model, trial.task, trial.data.digest, BatchShape.of(trial), width)


def cohort_key(trial: Trial, width: int) -> CohortKey:
    """Return what the trials that begin together with this one have in common with it."""
    training = trial.training
    budget = training.epochs, training.steps
    return CohortKey(pack_key(trial, width), trial.seed_of("order"), training.batches, budget, trial.method.name != BASE)


def cohort(first: Trial, waiting: Iterable[Trial], width: int, size: int) -> list[Trial]:
    """Return the trials that begin with the first one, which is among them.

    Args:
        waiting: what could begin, in order.
        width: of the packs of this trial and of all that are of its kind.
        size: largest number of trials.
    """
    key = cohort_key(first, width)
    others = (trial for trial in waiting if trial.id != first.id and trial.phase == first.phase and cohort_key(trial, width) == key)
    return [first, *itertools.islice(others, size - 1)]
