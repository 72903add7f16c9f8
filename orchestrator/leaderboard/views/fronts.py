"""The Pareto fronts of cost and average score."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from orchestrator.cells import row_name
from orchestrator.leaderboard.analysis import Cost, Front
from orchestrator.leaderboard.row import Row


def fronts_of(rows: Sequence[Row]) -> tuple[Front, ...]:
    """Return the front of every base model and cost, among the rows that have both the cost and an average."""
    found = []
    for model in dict.fromkeys(row.model for row in rows):
        for cost in get_args(Cost):
            best = _front([row for row in rows if row.model == model], cost)
            if best:
                found.append(Front(model=model, cost=cost, rows=tuple(row_name(row.method, row.capacity) for row in best)))
    return tuple(found)


def _front(rows: Sequence[Row], cost: Cost) -> list[Row]:
    priced = [(getattr(row, cost), row.average, row) for row in rows if getattr(row, cost) is not None and row.average is not None]
    front: list[Row] = []
    last: tuple[float, float] | None = None
    for price, average, row in sorted(priced, key=lambda item: (item[0], -item[1])):
        # Rows that are equal in both do not beat each other.
        if last is None or average > last[1] or (price, average) == last:
            front.append(row)
            last = price, average
    return front
