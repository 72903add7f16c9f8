"""The largest of several studentised statistics: p-values and quantiles that hold for a whole family."""

from __future__ import annotations

import numpy as np

from orchestrator.leaderboard.sample import Floats


class MaxT:
    """Collects draws of a family under its null hypotheses, and keeps only counts and maxima.

    Args:
        observed_C: absolute values of the observed statistics.
    """

    def __init__(self, observed_C: Floats) -> None:
        self._order_C = np.argsort(-observed_C, kind="stable")
        self._observed_C = observed_C[self._order_C]
        self._exceeding_C = np.zeros(len(observed_C), dtype=np.int64)
        self._largest: list[Floats] = []

    def add(self, studentised_BC: Floats) -> None:
        """Add draws."""
        backwards_BC = np.abs(studentised_BC)[:, self._order_C[::-1]]
        # Step-down: each hypothesis is held against the largest of those that are not yet rejected when its turn comes.
        largest_BC = np.maximum.accumulate(backwards_BC, axis=1)
        self._exceeding_C += (largest_BC[:, ::-1] >= self._observed_C).sum(0)
        self._largest.append(largest_BC[:, -1])

    def p_values(self, alone_C: Floats) -> Floats:
        """Return the adjusted p of each hypothesis, (k + 1) / (B + 1): k draws whose largest statistic reaches the observed one.

        Args:
            alone_C: the p of each hypothesis tested alone, below which the adjusted one never is.
        """
        draws = sum(map(len, self._largest))
        stepwise_C = np.maximum((self._exceeding_C + 1) / (draws + 1), alone_C[self._order_C])
        p_C = np.empty_like(stepwise_C)
        p_C[self._order_C] = np.maximum.accumulate(stepwise_C)
        return p_C

    def quantile(self, level: float) -> float:
        """Return the value that the largest statistic exceeds in at most the share 1 - level of the draws."""
        return float(np.quantile(np.concatenate(self._largest), level, method="higher"))
