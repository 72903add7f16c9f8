"""How rows order over tasks: average ranks, and Friedman's test. Descriptive: tasks are no sample of a population of tasks.

Scores are (R, T): rows, tasks; higher is better. A row with a score that is missing (NaN) is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import permutations

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from orchestrator.leaderboard.sample import Integers

EXACT_SUMS = 1_000_000
"""Rank sums of one step of the exact distribution; where there are more, permutations are drawn."""
PERMUTATIONS = 100_000
CHUNK_NUMBERS = 2_000_000


def average_ranks(scores_RT: NDArray[np.float64], names: Sequence[str]) -> dict[str, float]:
    """Return row -> mean over tasks of its rank, 1 for the best, ties sharing their mean rank; only rows with all tasks."""
    complete_R = ~np.isnan(scores_RT).any(1)
    if not scores_RT.shape[1] or not complete_R.any():
        return {}
    means = stats.rankdata(-scores_RT[complete_R], axis=0).mean(1)
    return dict(zip(np.array(names, dtype=object)[complete_R].tolist(), means.tolist(), strict=True))


def friedman_p(scores_RT: NDArray[np.float64], *, seed: int) -> float | None:
    """Return the p-value of the rows being exchangeable in each task, by permutation of the ranks within tasks.

    All permutations where their rank sums can be enumerated, else 100,000 drawn ones, with p = (k + 1) / (B + 1).

    Returns:
        None for fewer than two rows with all tasks, or no task.

    Source: Friedman 1937, The use of ranks to avoid the assumption of normality implicit in the analysis of variance.
    """
    scores_RT = scores_RT[~np.isnan(scores_RT).any(1)]
    if len(scores_RT) < 2 or not scores_RT.shape[1]:
        return None
    # Twice the mid-rank is whole, so that sums are compared exactly.
    ranks_TR = np.rint(2 * stats.rankdata(scores_RT, axis=0)).astype(np.int64).T
    observed = int(_spread(ranks_TR.sum(0)))
    exact = _exact_tail(ranks_TR, observed)
    return exact if exact is not None else _drawn_tail(ranks_TR, observed, np.random.default_rng(seed))


def _spread(sums: Integers) -> Integers:
    """Return the sum of squared rank sums: it grows with Friedman's statistic, since the ranks of each task stay the same."""
    return np.asarray((sums**2).sum(-1))


def _exact_tail(ranks_TR: Integers, observed: int) -> float | None:
    """Return the share of all permutations that spread at least as much, or None where there are too many rank sums.

    The rows are exchangeable, so that rank sums in another order are the same case.
    """
    rows = ranks_TR.shape[1]
    sums_XR, shares_X = np.zeros((1, rows), dtype=np.int64), np.ones(1)
    for ranks_R in ranks_TR:
        if len(sums_XR) * math.factorial(rows) > EXACT_SUMS:
            return None
        orders_PR = np.array(list(permutations(ranks_R.tolist())), dtype=np.int64)
        reached = np.sort((sums_XR[:, None] + orders_PR).reshape(-1, rows), axis=1)
        sums_XR, inverse = np.unique(reached, axis=0, return_inverse=True)
        ways_X = np.bincount(inverse.ravel(), weights=np.repeat(shares_X, len(orders_PR)))
        shares_X = np.asarray(ways_X / len(orders_PR))
    return min(1.0, float(shares_X[_spread(sums_XR) >= observed].sum()))


def _drawn_tail(ranks_TR: Integers, observed: int, random: np.random.Generator) -> float:
    reached = sum(int((_spread(sums_BR) >= observed).sum()) for sums_BR in _drawn_sums(ranks_TR, random))
    return (reached + 1) / (PERMUTATIONS + 1)


def _drawn_sums(ranks_TR: Integers, random: np.random.Generator) -> Iterator[Integers]:
    size = max(1, CHUNK_NUMBERS // ranks_TR.shape[1])
    for start in range(0, PERMUTATIONS, size):
        draws = min(size, PERMUTATIONS - start)
        sums_BR = np.zeros((draws, ranks_TR.shape[1]), dtype=np.int64)
        for ranks_R in ranks_TR:
            sums_BR += random.permuted(np.broadcast_to(ranks_R, sums_BR.shape), axis=1)
        yield sums_BR
