"""A grid as a matrix of cells: two axes side by side; of further axes, the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.leaderboard.analysis import Grid, GridPoint
from search_spaces.trial import Scalar

Value = Scalar | None


@dataclass(frozen=True)
class Cell:
    """One cell of a heat map.

    Attributes:
        score: selection score as a fraction; None where no point of the cell has one.
        selected: whether the selected point is here.
        failed: what became of the points, where none has a score.
    """

    score: float | None
    selected: bool
    failed: str


@dataclass(frozen=True)
class Matrix:
    """A grid laid out.

    Attributes:
        across: the axis whose values are the columns.
        down: the axis whose values are the rows; None for a grid of one axis, which has one row.
        columns: values of `across`.
        lines: values of `down`; one None without it.
        cells: one list per row.
        over: axes over which the cells show the best.
    """

    across: str
    down: str | None
    columns: Sequence[Value]
    lines: Sequence[Value]
    cells: Sequence[Sequence[Cell]]
    over: tuple[str, ...]


def matrix_of(grid: Grid) -> Matrix:
    """Lay a grid out: the learning rate across where it varies, and down the axis with the most values."""
    axes = sorted(grid.axes, key=lambda axis: (axis != "learning_rate", -len(grid.axes[axis])))
    across = axes[0] if axes else ""
    down = axes[1] if len(axes) > 1 else None
    columns: Sequence[Value] = grid.axes.get(across, (None,))
    lines: Sequence[Value] = grid.axes[down] if down else (None,)
    cells = [[_cell(grid, {across: column} | ({down: line} if down else {})) for column in columns] for line in lines]
    return Matrix(across, down, columns, lines, cells, tuple(axes[2:]))


def _cell(grid: Grid, where: dict[str, Value]) -> Cell:
    points = [point for point in grid.points if _at(point.place, where)]
    scores = [point.score for point in points if point.score is not None]
    selected = any(point.point == grid.selected for point in points)
    return Cell(max(scores, default=None), selected, "" if scores else _status(points))


def _at(point: dict[str, Value], where: dict[str, Value]) -> bool:
    return all(point.get(axis) == value for axis, value in where.items() if axis)


def _status(points: Sequence[GridPoint]) -> str:
    states = dict.fromkeys(status for point in points for status in point.statuses if status != "finished")
    return ", ".join(states).replace("_", " ") or "missing"
