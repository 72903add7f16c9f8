"""Attaches a trial's adapter to a resident base: afresh for its training, and from its files, timed."""

from __future__ import annotations

import hashlib
import logging
from contextlib import AbstractContextManager
from pathlib import Path

from search_spaces.errors import FairsweepError
from search_spaces.trial import BASE, Trial
from trainers import registry
from trainers.adapters import storing
from trainers.adapters.attach import AdaptedModel, attached
from trainers.adapters.untuned import Untuned
from trainers.meter import LOADS, seconds_to_load
from trainers.models import BaseModel

log = logging.getLogger(__name__)


def attach(base: BaseModel, trial: Trial, rank: int = 0) -> AbstractContextManager[AdaptedModel]:
    """Return the `with` block in which a trial's method, freshly initialised, is attached to a base.

    Args:
        rank: the worker's place in its group: all start with the same adapter, and each drops out inputs of its own.

    Raises:
        FairsweepError: as `attached` does.
    """
    method = Untuned if trial.method.name == BASE else registry.method_type(trial.method.name)
    return attached(
        base.model,
        method,
        trial.targets,
        capacity=trial.method.capacity,
        settings=trial.method.settings,
        scale=trial.training.scale,
        dropout=trial.training.dropout,
        also_train=() if method is Untuned else trial.also_train,
        init_seed=trial.seed_of("init"),
        dropout_seed=dropout_seed(trial, rank),
        num_labels=registry.task(trial.task).card.num_labels if base.has_head else None,
    )


def dropout_seed(trial: Trial, rank: int) -> int:
    """Return the seed of a worker's dropout; the first has that of a single worker."""
    seed = trial.seed_of("dropout")
    return seed if rank == 0 else int.from_bytes(hashlib.sha256(f"dropout {seed} {rank}".encode()).digest()[:8]) >> 1


def load_seconds(base: BaseModel, trial: Trial, folder: Path, times: int = LOADS) -> float | None:
    """Return how long a trial's stored adapter takes to be in place on the resident base.

    That is all that a switch from one adapter to another takes: building its modules, drawing or computing again what is not stored,
    reading the file and copying the tensors.

    Args:
        base: without any adapter.
        folder: holds the stored adapter.
        times: how often it is loaded at most.

    Returns:
        The median in seconds; None, and a warning, where the adapter cannot be loaded: the trial's results stand all the same.
    """

    def load() -> None:
        with attach(base, trial) as model:
            storing.restore(model, storing.load(folder)[0])

    try:
        return seconds_to_load(load, times)
    except (FairsweepError, OSError, RuntimeError, MemoryError) as error:
        log.warning("trial %s: its stored adapter cannot be loaded: %s", trial.id, error)
        return None
