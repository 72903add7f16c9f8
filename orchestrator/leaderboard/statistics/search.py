"""What the search over the grid gave: the expected best of n points, and which axes the score depends on."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln


def expected_best(scores: Sequence[float]) -> tuple[float, ...]:
    """Return the expected largest score of n points drawn from the grid without replacement, for n = 1 to all points.

    The i-th smallest of N scores is the largest of n with probability C(i - 1, n - 1) / C(N, n).

    Args:
        scores: of every point; a failed point counts as the caller decides.

    Raises:
        ValueError: a score is missing (NaN).

    Source: order statistics of a finite population; Tang et al. 2020, arXiv 2004.13705, who show that the estimator of Dodge et al. 2019,
    arXiv 1909.03004, which draws with replacement, is biased.
    """
    ordered = np.sort(np.asarray(scores, dtype=np.float64))
    if np.isnan(ordered).any():
        raise ValueError(f"{int(np.isnan(ordered).sum())} of {len(ordered)} scores are NaN. Fix: give what a failed point counts")
    count = len(ordered)
    below = np.arange(count)
    # Logarithms: the binomial coefficients of a grid of a thousand points are beyond floating point.
    return tuple(float(np.exp(_log_choose(below, n - 1) - _log_choose(count, n)) @ ordered) for n in range(1, count + 1))


def _log_choose(total: NDArray[np.int64] | int, chosen: int) -> NDArray[np.float64]:
    totals = np.asarray(total, dtype=np.float64)
    possible = np.maximum(totals, chosen)
    logs = gammaln(possible + 1) - gammaln(chosen + 1) - gammaln(possible - chosen + 1)
    return np.where(totals >= chosen, logs, -np.inf)


def main_effects(points: Sequence[Mapping[str, Hashable]], scores: Sequence[float]) -> dict[str, float]:
    """Return axis -> share of the variance of the score over the grid that goes with this axis alone.

    That is the variance of the mean score at each value of the axis, by the variance of all scores: the first-order index of Sobol 1993,
    the main effect of an analysis of variance. On a full grid the shares add up to at most 1; the rest are interactions.

    Args:
        points: axis -> value, the same axes for all points.
        scores: in the same order; points without a score (NaN) are passed over.

    Returns:
        Zeros where all scores are equal; nothing where no point has a score.
    """
    scored = [(point, score) for point, score in zip(points, scores, strict=True) if not math.isnan(score)]
    if not scored:
        return {}
    values = np.array([score for _, score in scored])
    return {axis: _share([point[axis] for point, _ in scored], values) for axis in scored[0][0]}


def _share(levels: Sequence[Hashable], scores: NDArray[np.float64]) -> float:
    total = float(np.sum((scores - scores.mean()) ** 2))
    index = {level: number for number, level in enumerate(dict.fromkeys(levels))}
    level_of = np.array([index[level] for level in levels])
    counts = np.bincount(level_of)
    means = np.bincount(level_of, weights=scores) / counts
    between = float(np.sum(counts * (means - scores.mean()) ** 2))
    return min(1.0, between / total) if total > 0 else 0.0
