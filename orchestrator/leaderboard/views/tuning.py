"""What a tuning budget buys: the expected best of so many points of the grid, and which of its axes matter."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from itertools import accumulate

from orchestrator.leaderboard.analysis import ExpectedBest, Grid, Sensitivity
from orchestrator.leaderboard.statistics.search import expected_best, main_effects
from orchestrator.leaderboard.views.grids import filled_scores

Untuned = Mapping[tuple[str, str], float]
"""Model and task -> what the untuned model scores on the selection split."""


def expected_bests(grids: Sequence[Grid], untuned: Untuned, in_order: bool = False) -> tuple[ExpectedBest, ...]:
    """Return the tuning-budget curve of every row whose grid has run, those of one task for the same numbers of points.

    Args:
        grids: their points in the order in which they were asked for.
        untuned: what a failed point scores.
        in_order: whether each point depended on the ones before, so that no other order could have been.
    """
    found = []
    for model, task in _scopes(grids):
        base = untuned.get((model, task))
        rows = {grid.row: filled_scores(grid, base) for grid in grids if (grid.model, grid.task) == (model, task)}
        shortest = min((len(scores) for scores in rows.values() if scores), default=0)
        for row, scores in rows.items():
            if scores:
                best = accumulate(scores, max) if in_order else expected_best(scores)
                curve = tuple(best)[:shortest]
                found.append(ExpectedBest(model=model, task=task, row=row, scores=curve, untuned=base, in_order=in_order))
    return tuple(found)


def sensitivities(grids: Sequence[Grid], untuned: Untuned) -> tuple[Sensitivity, ...]:
    """Return how much each axis matters to every row whose grid has run; a failed point scores as the untuned model."""
    found = []
    for grid in grids:
        scores = filled_scores(grid, untuned.get((grid.model, grid.task)))
        if scores and grid.axes:
            points = [{axis: point.place.get(axis) for axis in grid.axes} for point in grid.points]
            shares = main_effects(points, scores)
            spread = statistics.pstdev(scores)
            found.append(Sensitivity(model=grid.model, task=grid.task, row=grid.row, shares=dict(shares), spread=spread))
    return tuple(found)


def undecided(grids: Sequence[Grid], untuned: Untuned) -> list[str]:
    """Return a note for the grids that have no tuning-budget curve, with the reason."""
    reasons: dict[str, list[str]] = {}
    for grid in grids:
        if filled_scores(grid, untuned.get((grid.model, grid.task))) is None:
            reasons.setdefault(_reason(grid), []).append(f"{grid.row} on {grid.task} with {grid.model}")
    return [f"no tuning-budget curve and no sensitivity: {reason}: {', '.join(names)}" for reason, names in reasons.items()]


def _reason(grid: Grid) -> str:
    if any(status in ("missing", "pruned") for point in grid.points for status in point.statuses):
        return "points of the grid have not run to the end"
    return "a point failed, and the untuned model has no selection score"


def _scopes(grids: Sequence[Grid]) -> list[tuple[str, str]]:
    return list(dict.fromkeys((grid.model, grid.task) for grid in grids))
