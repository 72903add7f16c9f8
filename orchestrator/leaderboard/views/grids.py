"""The grids: what every point of a cell's grid scored, and where the selected one lies."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence

from orchestrator.cells import Cell, row_name
from orchestrator.fairness.edges import ordered_values
from orchestrator.leaderboard.analysis import Grid, GridPoint
from orchestrator.leaderboard.views.parts import axes_shown, cell_shown
from orchestrator.recorded import PlannedTrial, RecordedSweep
from orchestrator.tracking.records import RunRecord
from search_spaces.domains import Domain
from search_spaces.trial import Scalar

Point = Mapping[str, Scalar | None]


def grids_of(sweep: RecordedSweep) -> tuple[Grid, ...]:
    """Return the grid of every cell that is tuned, in the order of the plan."""
    cells: dict[Cell, list[PlannedTrial]] = {}
    for planned in sweep.select:
        cells.setdefault(planned.cell, []).append(planned)
    return tuple(_grid(sweep, cell, trials) for cell, trials in cells.items())


def untuned_selection(sweep: RecordedSweep) -> dict[tuple[str, str], float]:
    """Return what the untuned model scores on the selection split, by model and task, where that is recorded."""
    found = {}
    for planned in sweep.plan.base_trials:
        record = sweep.trials[planned.id][1] if planned.id in sweep.trials else None
        score = _score(record, sweep.plan.main_metrics[planned.task])
        if score is not None:
            found[planned.model, planned.task] = score
    return found


def filled_scores(grid: Grid, untuned: float | None) -> list[float] | None:
    """Return the scores of a grid's points, a failed one scoring as the untuned model.

    None where a point has not run yet, was stopped early, or failed while the untuned model's score is not known.
    """
    found: list[float] = []
    for point in grid.points:
        score = untuned if point.score is None else point.score
        if score is None or {"missing", "pruned"} & set(point.statuses):
            return None
        found.append(score)
    return found


def _grid(sweep: RecordedSweep, cell: Cell, trials: Sequence[PlannedTrial]) -> Grid:
    selection = sweep.selections.get(cell)
    domain = sweep.plan.search.axes if sweep.plan.search else {}
    axes = _axes([planned.point for planned in trials]) if not domain else axes_shown(domain)
    by_point: dict[tuple[tuple[str, Scalar | None], ...], list[PlannedTrial]] = {}
    for planned in trials:
        by_point.setdefault(tuple(sorted(planned.point.items())), []).append(planned)
    return Grid(
        model=cell.model,
        task=cell.task,
        row=row_name(cell.label, cell.config),
        axes=axes,
        points=tuple(_grid_point(sweep, found, domain) for found in by_point.values()),
        selected=dict(selection.point) if selection else None,
        edges=tuple(dict.fromkeys(edge.axis for edge in sweep.edges.get(cell, ()))),
    )


def _grid_point(sweep: RecordedSweep, trials: Sequence[PlannedTrial], domain: Mapping[str, Domain]) -> GridPoint:
    records = [sweep.trials[planned.id][1] if planned.id in sweep.trials else None for planned in trials]
    main = sweep.plan.main_metrics[trials[0].task]
    return GridPoint(
        point=dict(trials[0].point),
        cell=cell_shown(trials[0].point, domain) if domain else None,
        score=_mean(_score(record, main) for record in records),
        loss=_mean(_score(record, "loss") for record in records),
        statuses=tuple(record.outcome.status if record else "missing" for record in records),
        runs=tuple(record.run_id for record in records if record),
    )


def _score(record: RunRecord | None, metric: str) -> float | None:
    """Return a metric of a finished run on the selection split; None where it has none, or none that is finite."""
    if record is None or record.status != "finished":
        return None
    score = record.outcome.metrics.get(f"selection/{metric}")
    return score if score is not None and math.isfinite(score) else None


def _mean(values: Iterable[float | None]) -> float | None:
    """Return the mean; None where a value is missing."""
    known = list(values)
    found = [value for value in known if value is not None]
    return statistics.fmean(found) if found and len(found) == len(known) else None


def _axes(points: Sequence[Point]) -> dict[str, tuple[Scalar | None, ...]]:
    """Return the axes that vary: numbers in ascending order after null, other values as the sweep file has them."""
    found: dict[str, tuple[Scalar | None, ...]] = {}
    for axis in dict.fromkeys(axis for point in points for axis in point):
        values = tuple(dict.fromkeys(point.get(axis) for point in points))
        if len(values) > 1:
            ordered = ordered_values(points, axis)
            found[axis] = (*((None,) if None in values else ()), *ordered) if ordered else values
    return found
