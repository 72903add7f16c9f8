"""Clusters: examples that were drawn together, such as the questions on one passage."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.leaderboard.sample import Floats, Integers

NEGLIGIBLE = 1e-9
"""Influence that is but rounding."""


def totals(values: NDArray[Any], groups_N: Integers) -> Floats:
    """Return the sums over each cluster: (..., N) -> (..., G).

    Args:
        values: one per example in the last place.
        groups_N: the cluster of each example, 0..G-1, each of which has an example.
    """
    numbers = np.asarray(values, dtype=np.float64)
    order = np.argsort(groups_N, kind="stable")
    starts = np.flatnonzero(np.diff(groups_N[order], prepend=-1))
    return np.asarray(np.add.reduceat(numbers[..., order], starts, axis=-1))


def mean_squared_share(groups_N: Integers) -> float:
    """Return the mean over clusters of their squared share of the examples: the square of what one cluster can change of a mean."""
    shares_G = np.bincount(groups_N) / len(groups_N)
    return float(np.mean(shares_G**2))


def variance_floor(influence_GC: Floats, otherwise: float) -> Floats:
    """Return the variance that one cluster alone would give, if it deviated as much as any one does: (G, C) -> (C,).

    A draw that holds no cluster that deviates would show no variance, which studentising divides by.

    Args:
        influence_GC: influence of each cluster on some scores.
        otherwise: where no cluster deviates from another.
    """
    largest_C = np.abs(influence_GC).max(0)
    return np.where(largest_C > NEGLIGIBLE, (largest_C / len(influence_GC)) ** 2, otherwise)
