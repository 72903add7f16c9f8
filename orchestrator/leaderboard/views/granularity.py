"""How finely the size of a method can be chosen, as far as the rows of a board show it."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from itertools import pairwise

from orchestrator.leaderboard.analysis import Granularity
from orchestrator.leaderboard.row import Row
from search_spaces.trial import BASE


def granularities(rows: Iterable[Row]) -> tuple[Granularity, ...]:
    """Return the sizes of every method on every base model, refused rows and the untuned model left out."""
    sizes: dict[tuple[str, str], set[int]] = {}
    for row in rows:
        if row.trainable and row.method != BASE:
            sizes.setdefault((row.model, row.method), set()).add(row.trainable)
    return tuple(_granularity(model, method, sorted(found)) for (model, method), found in sizes.items())


def _granularity(model: str, method: str, sizes: list[int]) -> Granularity:
    ratios = [larger / smaller for smaller, larger in pairwise(sizes)]
    step = statistics.median(ratios) if ratios else None
    return Granularity(model=model, method=method, sizes=tuple(sizes), smallest=sizes[0], step=step)
