"""Tuning budgets: the selection score that is to be expected of the best of n grid points."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from orchestrator.cells import row_name
from orchestrator.leaderboard.analysis import ExpectedBest
from orchestrator.leaderboard.board import Board
from orchestrator.leaderboard.export.figures.labels import drawable
from orchestrator.leaderboard.export.figures.panels import UNTUNED, legend, panels
from orchestrator.leaderboard.export.figures.style import MUTED, Drawing, Styles, new_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_DRAWN = "Expected best selection score of n points, drawn without replacement"
_ORDERED = "Best selection score of the first n points, in the order in which the search asked for them"
_DASHES = ("-", (0, (5, 1.5)), (0, (1.5, 1.5)), (0, (5, 1.5, 1.5, 1.5)))
"""Of the sizes of one method; they repeat."""


def tuning(board: Board, model: str, slug: str) -> Iterator[Drawing]:
    """Yield the curves of one base model by task; none where the grid has one point."""
    curves = [curve for curve in board.analysis.expected_best if curve.model == model and len(curve.scores) > 1]
    if curves:
        caption = f"{_ORDERED if curves[0].in_order else _DRAWN}, {model}. "
        caption += "A failed point counts as the untuned model."
        yield Drawing(f"tuning-{slug}", caption, lambda: _draw(board, model, curves))


def _draw(board: Board, model: str, curves: Sequence[ExpectedBest]) -> Figure:
    from matplotlib.ticker import MaxNLocator

    styles = Styles(board)
    labels = {row_name(row.method, row.capacity): row.method for row in board.rows}
    by_task = [(task, list(found)) for task, found in groupby(sorted(curves, key=lambda c: c.task), key=lambda curve: curve.task)]
    figure, grid = panels(lambda width, height: new_figure(board, model, width, height), len(by_task))
    for axes, (task, found) in zip(grid, by_task, strict=True):
        seen: dict[str, int] = {}
        for curve in found:
            label = labels.get(curve.row, curve.row)
            number = seen[label] = seen.get(label, -1) + 1
            _line(axes, styles, label, curve, number)
        _untuned(axes, found)
        axes.set_title(drawable(f"{task} {board.tasks.get(task, '')} %, selection", 60), loc="left")
        axes.set_xlabel("points tried")
        axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    legend(figure, grid)
    return figure


def _line(axes: Axes, styles: Styles, label: str, curve: ExpectedBest, number: int) -> None:
    steps = range(1, len(curve.scores) + 1)
    marker = styles.marker(label) if len(steps) <= 12 else None
    line: dict[str, Any] = {"marker": marker, "color": styles.color(label), "linestyle": _DASHES[number % len(_DASHES)], "markersize": 3.5}
    axes.plot(steps, [100 * score for score in curve.scores], label=drawable(curve.row), **line)


def _untuned(axes: Axes, curves: Sequence[ExpectedBest]) -> None:
    for level in sorted({curve.untuned for curve in curves if curve.untuned is not None}):
        axes.axhline(100 * level, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)), label=UNTUNED)
