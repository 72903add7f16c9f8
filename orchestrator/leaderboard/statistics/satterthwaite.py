"""Degrees of freedom of a sum of mean squares."""

from __future__ import annotations

from collections.abc import Iterable


def variance_and_degrees(terms: Iterable[tuple[float, int]]) -> tuple[float, float]:
    """Return the sum of mean squares and its approximate degrees of freedom.

    Args:
        terms: mean squares, each times its coefficient, with their degrees of freedom.

    Source: Satterthwaite 1946, An approximate distribution of estimates of variance components.
    """
    pairs = [(term, degrees) for term, degrees in terms if degrees > 0]
    variance = sum(term for term, _ in pairs)
    spread = sum(term**2 / degrees for term, degrees in pairs)
    return variance, variance**2 / spread if spread else float("inf")
