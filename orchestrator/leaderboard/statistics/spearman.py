"""Spearman's correlation of draws of examples: Pearson's correlation of mid-ranks, where each example counts as often as it was drawn.

Shapes: V distinct values, X runs of Y values, else as in the package.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.leaderboard.sample import Floats, Integers
from orchestrator.leaderboard.statistics.clusters import totals

RUN = 32
"""Rows of one matrix product of running sums."""
BLOCK_NUMBERS = 100_000
"""Numbers of the arrays of a block of draws: they stay in the processor's cache."""


class Ordered:
    """The order of the examples by a value; equal values share their mean rank."""

    def __init__(self, values_N: NDArray[Any]) -> None:
        numbers = np.asarray(values_N, dtype=np.float64)
        self._order = np.argsort(numbers, kind="stable")
        # NaN differs from itself: whatever comes of it is no number either.
        self._starts = np.flatnonzero(np.diff(numbers[self._order], prepend=np.nan) != 0)
        self.untied = len(self._starts) == len(numbers)
        self.defined = bool(np.isfinite(numbers).all())
        self._place_N = np.empty(len(numbers), dtype=np.int64)
        self._place_N[self._order] = np.repeat(np.arange(len(self._starts)), np.diff(self._starts, append=len(numbers)))

    def sums(self, numbers_NB: NDArray[Any]) -> NDArray[Any]:
        """Return the sums over the examples of each distinct value, in order: (V, B)."""
        ordered_NB = numbers_NB[self._order]
        return ordered_NB if self.untied else np.asarray(np.add.reduceat(ordered_NB, self._starts, axis=0))

    def spread(self, values_VB: NDArray[Any]) -> NDArray[Any]:
        """Give each example what was found for its value: (N, B)."""
        return values_VB[self._place_N]


def _ranks(counts_VB: NDArray[Any]) -> NDArray[Any]:
    """Return the mid-rank of each distinct value, less the mean rank of all."""
    upto_VB = _cumulated(counts_VB)
    upto_VB -= (counts_VB + upto_VB[-1]) / 2
    return upto_VB


def _cumulated(counts_VB: NDArray[Any]) -> NDArray[Any]:
    """Return the running sums down the columns: within runs of rows by a matrix product, which is several times faster than `cumsum`."""
    values, draws = counts_VB.shape
    runs_XYB = np.zeros((-(-values // RUN), RUN, draws), dtype=counts_VB.dtype)
    runs_XYB.reshape(-1, draws)[:values] = counts_VB
    sums_XYB = np.matmul(np.tri(RUN, dtype=counts_VB.dtype), runs_XYB)
    sums_XYB[1:] += np.cumsum(sums_XYB[:-1, -1], axis=0)[:, None]
    return np.asarray(sums_XYB.reshape(-1, draws)[:values])


def _variation(counts_VB: NDArray[Any]) -> Floats:
    """Return the sum of the squared centred mid-ranks, with the correction for ties: (n^3 - sum of c^3) / 12."""
    return np.asarray((counts_VB.sum(0, dtype=np.float64) ** 3 - np.einsum("vb,vb->b", counts_VB**2, counts_VB)) / 12)


class Spearman:
    """One row's rank correlation on one task, NaN where one side is constant."""

    def __init__(self, predictions_SN: NDArray[Any], references_N: NDArray[Any], groups_N: Integers) -> None:
        self._groups_N = groups_N
        self._given, self._right = [Ordered(row_N) for row_N in predictions_SN], Ordered(references_N)
        self.scores_S: Floats = self._scores(np.ones((len(references_N), 1)))[0]
        self.influence_SG: Floats = np.stack([self._influence(given) for given in self._given])

    def draw(self, weights_BG: NDArray[np.float32]) -> Floats:
        """Return the metric of each seed, (B, S), where each cluster counts as often as it was drawn."""
        draws = max(1, BLOCK_NUMBERS // len(self._groups_N))
        blocks = (weights_BG[start : start + draws] for start in range(0, len(weights_BG), draws))
        return np.concatenate([self._scores(np.ascontiguousarray(block_BG.T)[self._groups_N]) for block_BG in blocks])

    def _scores(self, weights_NB: NDArray[Any]) -> Floats:
        right_VB = self._right.sums(weights_NB)
        weighted_NB = weights_NB * self._right.spread(_ranks(right_VB))
        right_B, untied_B = _variation(right_VB), _variation(weights_NB)
        return np.stack([self._correlation(given, weights_NB, weighted_NB, right_B, untied_B) for given in self._given], axis=1)

    def _correlation(
        self, given: Ordered, weights_NB: NDArray[Any], weighted_NB: NDArray[Any], right_B: Floats, untied_B: Floats
    ) -> Floats:
        if not (given.defined and self._right.defined):
            return np.full_like(right_B, np.nan)
        counts_VB = given.sums(weights_NB)
        together_B = np.einsum("vb,vb->b", given.sums(weighted_NB), _ranks(counts_VB))
        spread_B = right_B * (untied_B if given.untied else _variation(counts_VB))
        return np.where(spread_B > 0, together_B / np.sqrt(np.where(spread_B > 0, spread_B, 1.0)), np.nan)

    def _influence(self, given: Ordered) -> Floats:
        """Return the influence of each cluster: that of Croux & Dehon 2010, with mid-ranks in place of ranks."""
        count, clusters = len(self._groups_N), int(self._groups_N.max()) + 1
        x_N, y_N = (_centred(side, count) / count for side in (given, self._right))
        xy, xx, yy = float(np.mean(x_N * y_N)), float(np.mean(x_N**2)), float(np.mean(y_N**2))
        if xx * yy <= 0:
            return np.zeros(clusters)
        by_xy = x_N * y_N + (_above(given, y_N) + _above(self._right, x_N)) / count - 3 * xy
        by_xx = x_N**2 + 2 * _above(given, x_N) / count - 3 * xx
        by_yy = y_N**2 + 2 * _above(self._right, y_N) / count - 3 * yy
        influence_N = (by_xy - xy * (by_xx / xx + by_yy / yy) / 2) / np.sqrt(xx * yy)
        return totals(influence_N, self._groups_N) * (clusters / count)


def _centred(side: Ordered, count: int) -> Floats:
    return np.asarray(side.spread(_ranks(side.sums(np.ones((count, 1)))))[:, 0])


def _above(side: Ordered, numbers_N: Floats) -> Floats:
    """Return for each example the sum of the numbers of those that rank above it, and half of those that tie with it, itself included."""
    sums_V1 = side.sums(numbers_N[:, None])
    return np.asarray(side.spread(sums_V1.sum(0) - np.cumsum(sums_V1, axis=0) + sums_V1 / 2)[:, 0])
