"""Intervals of published scores."""

from __future__ import annotations

from orchestrator.leaderboard.row import Interval
from orchestrator.leaderboard.statistics.intervals import binomial_interval

PROPORTIONS = frozenset({"accuracy", "em", "exact_match"})
"""Metrics that are the share of right examples. Of any other one, such as F1, the size of the test split alone gives no interval."""


def interval_of(metric: str, score: float, n: int | None) -> Interval | None:
    """Return the binomial interval of a published score; None where the metric is no proportion, or the test split's size is not known.

    Args:
        metric: its name, in any case.
        score: a fraction.
        n: test examples.
    """
    if n is None or metric.lower() not in PROPORTIONS or not 0 <= score <= 1:
        return None
    return binomial_interval(score, n)
