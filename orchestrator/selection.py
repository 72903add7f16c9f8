"""Which grid point of a cell is reported: the one rule, for the run and for the audit of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

from search_spaces.domains import Value
from search_spaces.trial import Scalar
from trainers.results import Status

Point = Mapping[str, Value]
FrozenPoint = tuple[tuple[str, Value], ...]
"""A grid point as a hashable value."""

UNDECIDED: tuple[Status, ...] = ("error", "out_of_memory")
"""What a select trial may end with that says nothing of its grid point: its cell is not reported before the trial is run again."""

TIE_RULE = "highest mean selection score over the select seeds; ties: lower selection loss, smaller learning rate, grid order"


@dataclass(frozen=True)
class Result:
    """What one select trial says about its grid point."""

    point: Point
    seed: int
    status: Status
    score: float | None
    """Main metric on the selection split, in 0..1."""
    loss: float | None = None
    """Loss on the selection split."""


@dataclass(frozen=True)
class Selection:
    """The grid point that was selected for a cell."""

    point: dict[str, Value]
    score: float | None
    """Mean main metric on the selection split; None when no point has all its seeds finished."""
    loss: float | None
    tied: tuple[dict[str, Value], ...]
    """All points that only the grid's order tells apart, the selected one first."""
    equal: tuple[dict[str, Value], ...]
    """All points of the same score and loss, which only the learning rate or the grid's order tells apart, the selected one first."""
    failed: int
    """Select trials of the cell, over all points, that did not finish."""


def select_point(results: Sequence[Result]) -> Selection:
    """Select the grid point of one cell (F11): `TIE_RULE`.

    A point with a failed, diverged or missing seed comes after every point without. Where no point is complete, the
    smallest learning rate is selected: it is the least likely to diverge.

    Args:
        results: the cell's select trials, in the order of the grid.

    Raises:
        ValueError: there are no results.
    """
    if not results:
        raise ValueError("no select trial to choose a grid point from")
    seeds = {result.seed for result in results}
    by_point = _by_point(results)
    ranked = _ranked(by_point.values(), seeds)
    best, chosen = ranked[0]
    worst_score, loss, _ = best
    return Selection(
        point=dict(chosen[0].point),
        score=-worst_score if worst_score < math.inf else None,
        loss=loss if loss < math.inf else None,
        tied=tuple(dict(found[0].point) for key, found in ranked if key == best),
        equal=tuple(dict(found[0].point) for key, found in ranked if key[:2] == best[:2]),
        failed=sum(result.status not in ("finished", "pruned") for result in results),
    )


def best_points(results: Sequence[Result], count: int) -> list[FrozenPoint]:
    """Return up to so many points, the best first by `TIE_RULE`; one with a failed seed is never among them.

    Args:
        results: of one cell, in the order of the grid.
        count: how many.
    """
    ranked = _ranked(_by_point(results).values(), {result.seed for result in results})
    return [frozen(found[0].point) for key, found in ranked if key[0] < math.inf][:count]


def frozen(point: Point) -> FrozenPoint:
    """Return a grid point as a hashable value."""
    return tuple(sorted(point.items()))


def stands(results: Iterable[Result]) -> bool:
    """Tell whether a cell's selection stands: no trial of it ended in a way that says nothing of its grid point."""
    return all(result.status not in UNDECIDED for result in results)


def _by_point(results: Iterable[Result]) -> dict[FrozenPoint, list[Result]]:
    found: dict[FrozenPoint, list[Result]] = {}
    for result in results:
        found.setdefault(frozen(result.point), []).append(result)
    return found


def _ranked(by_point: Iterable[list[Result]], seeds: set[int]) -> list[tuple[tuple[float, float, float], list[Result]]]:
    """Return what each point is sorted by with its results, the best point first; what is equal stays in the order of the grid."""
    return sorted(((_key(found, seeds), found) for found in by_point), key=lambda item: item[0])


def point_score(results: Sequence[Result], seeds: Set[int]) -> float | None:
    """Return what a search is told of a point: its mean score over the select seeds, NaN where a seed diverged or has no score.

    Returns:
        None while a seed is missing, or ended in a way that says nothing of the point.
    """
    if {result.seed for result in results} != seeds or not stands(results):
        return None
    return _mean(result.score for result in results) if all(map(_usable, results)) else math.nan


def _key(results: Sequence[Result], seeds: set[int]) -> tuple[float, float, float]:
    """Return what points are sorted by, the best first: minus the score, the loss, the learning rate."""
    rate = results[0].point.get("learning_rate")
    rate = float(rate) if isinstance(rate, int | float) else math.inf
    scores = [result.score for result in results if result.status == "finished"]
    if {result.seed for result in results if _usable(result)} != seeds:
        return math.inf, math.inf, rate
    return -_mean(scores), _mean(result.loss for result in results), rate


def _usable(result: Result) -> bool:
    return result.status == "finished" and result.score is not None and math.isfinite(result.score)


def _mean(values: Iterable[Scalar | None]) -> float:
    numbers = [float(value) if isinstance(value, int | float) and not math.isnan(value) else math.inf for value in values]
    return math.fsum(numbers) / len(numbers)
