"""Heat maps of the grids: what every point scored on the selection split, which one was selected, and whether it lies on an edge."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from orchestrator.leaderboard.analysis import Grid
from orchestrator.leaderboard.board import Board
from orchestrator.leaderboard.export.figures.heat import Cell, Matrix, Value, matrix_of
from orchestrator.leaderboard.export.figures.labels import drawable
from orchestrator.leaderboard.export.figures.style import ALARM, Drawing, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_CAPTION = "Selection score % of every grid point. Thick frame: the selected point; dashed and red: it lies on the edge of an axis."
_ROWS_OF_GRIDS = 24
"""Heat maps in one figure."""
_COLORS = "cividis"
"""Evenly perceived, also by the colour-blind."""


def grids(board: Board, model: str, slug: str) -> Iterator[Drawing]:
    """Yield the heat maps of one base model, a figure per task, of many grids several."""
    for number, task in enumerate(board.tasks):
        found = [grid for grid in board.analysis.grids if (grid.model, grid.task) == (model, task) and grid.axes]
        parts = [found[start : start + _ROWS_OF_GRIDS] for start in range(0, len(found), _ROWS_OF_GRIDS)]
        for part, some in enumerate(parts, start=1):
            name = "-".join(["grid", slug, str(number + 1), *([str(part)] if len(parts) > 1 else [])])
            over = dict.fromkeys(axis for grid in some for axis in matrix_of(grid).over)
            best = f" Cells show the best over {', '.join(over)}." if over else ""
            yield Drawing(name, f"{task}, {model}. {_CAPTION}{best}", partial(_draw, board, model, task, some))


def _draw(board: Board, model: str, task: str, found: Sequence[Grid]) -> Figure:
    matrices = [matrix_of(grid) for grid in found]
    heights = [len(matrix.lines) for matrix in matrices]
    width = 2.6 + 0.62 * max(len(matrix.columns) for matrix in matrices)
    figure = new_figure(board, f"{task} with {model}", max(width, 4.2), 0.9 + 0.3 * sum(heights) + 0.14 * len(heights))
    panels = [line[0] for line in figure.subplots(len(found), 1, squeeze=False, gridspec_kw={"height_ratios": heights})]
    scores = [cell.score for matrix in matrices for line in matrix.cells for cell in line if cell.score is not None]
    limits = (100 * min(scores, default=0.0), 100 * max(scores, default=1.0))
    for number, (axes, grid, matrix) in enumerate(zip(panels, found, matrices, strict=True)):
        _panel(axes, grid, matrix, limits)
        alike = number + 1 < len(found) and matrices[number + 1].columns == matrix.columns and matrices[number + 1].across == matrix.across
        axes.set_xticks(range(len(matrix.columns)), [] if alike else [_value(value) for value in matrix.columns])
        axes.set_xlabel("" if alike else drawable(matrix.across))
    return figure


def _panel(axes: Axes, grid: Grid, matrix: Matrix, limits: tuple[float, float]) -> None:
    import numpy as np

    values = np.array([[np.nan if cell.score is None else 100 * cell.score for cell in line] for line in matrix.cells])
    axes.imshow(values, cmap=_COLORS, vmin=limits[0], vmax=max(limits[1], limits[0] + 1e-9), aspect="auto")
    axes.set_facecolor("#F0F0F0")
    axes.grid(visible=False)
    axes.tick_params(length=0)
    names = [drawable(grid.row)] if matrix.down is None else [f"{drawable(matrix.down)} {_value(value)}" for value in matrix.lines]
    axes.set_yticks(range(len(matrix.lines)), names)
    if matrix.down is not None:
        axes.set_title(drawable(grid.row), loc="left", pad=2)
    for y, line in enumerate(matrix.cells):
        for x, cell in enumerate(line):
            dark = cell.score is not None and 100 * cell.score < (limits[0] + limits[1]) / 2
            _text(axes, x, y, cell, "white" if dark else "black")
            if cell.selected:
                _frame(axes, x, y, edge=bool(grid.edges))


def _text(axes: Axes, x: int, y: int, cell: Cell, color: str) -> None:
    text = f"{100 * cell.score:.1f}" if cell.score is not None else cell.failed
    axes.text(x, y, text, ha="center", va="center", fontsize=7 if cell.score is not None else 5.5, color=color)


def _frame(axes: Axes, x: int, y: int, edge: bool) -> None:
    from matplotlib.patches import Rectangle

    style = {"edgecolor": ALARM, "linestyle": (0, (2, 1))} if edge else {"edgecolor": "black", "linestyle": "-"}
    axes.add_patch(Rectangle((x - 0.46, y - 0.44), 0.92, 0.88, fill=False, linewidth=1.8, zorder=3, clip_on=False, **style))


def _value(value: Value) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    return drawable("none" if value is None else str(value), 12)
