"""Scores against what they cost, with the rows that no other row beats in both."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from orchestrator.cells import row_name
from orchestrator.leaderboard.analysis import Cost
from orchestrator.leaderboard.board import Board
from orchestrator.leaderboard.export.figures.labels import drawable, log_axis
from orchestrator.leaderboard.export.figures.panels import legend
from orchestrator.leaderboard.export.figures.scores import AXIS, axis_title, cost_of, draw_score, draw_untuned, score_of
from orchestrator.leaderboard.export.figures.style import Drawing, Styles, new_figure
from orchestrator.leaderboard.row import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MEASURED: tuple[Cost, ...] = ("adapter_bytes", "seconds_per_step", "peak_bytes")
_ABOUT = "Grey steps: the rows that no other row beats in both. Bars: 95 % confidence intervals, where there are three seeds or more."


def pareto(board: Board, model: str, slug: str) -> Iterator[Drawing]:
    """Yield scores against parameters, and against what was measured, of one base model."""
    rows = [row for row in board.rows if row.model == model]
    shown = [cost for cost in ("trainable", *_MEASURED) if any(_place(board, row, cost) for row in rows)]
    if "trainable" in shown:
        caption = f"Test score against trainable parameters (logarithmic), {model}. {_ABOUT}"
        yield Drawing(f"pareto-{slug}", caption, lambda: _draw(board, model, rows, ["trainable"]))
    if measured := [cost for cost in _MEASURED if cost in shown]:
        alone = "" if board.solo else " Times and memory are of processes beside other trials, and no profile."
        caption = f"Test score against measured cost (logarithmic), {model}. {_ABOUT}{alone}"
        yield Drawing(f"costs-{slug}", caption, lambda: _draw(board, model, rows, measured))


def _draw(board: Board, model: str, rows: Sequence[Row], costs: Sequence[Cost]) -> Figure:
    styles = Styles(board)
    figure = new_figure(board, model, *((5.0, 3.4) if len(costs) == 1 else (1.4 + 1.95 * len(costs), 2.7)))
    panels = figure.subplots(1, len(costs), sharey=True, squeeze=False)[0]
    for axes, cost in zip(panels, costs, strict=True):
        _panel(board, axes, styles, rows, cost)
    panels[0].set_ylabel(drawable(axis_title(board, None), 60))
    legend(figure, panels)
    return figure


def _panel(board: Board, axes: Axes, styles: Styles, rows: Sequence[Row], cost: Cost) -> None:
    _front(board, axes, rows, cost)
    named: set[str] = set()
    places = []
    for row in rows:
        if place := _place(board, row, cost):
            label = None if row.method in named else drawable(row.method)
            named.add(row.method)
            places.append(place[0])
            score = score_of(board, row, None)
            assert score is not None
            draw_score(axes, styles, row, place[0], score, label)
    draw_untuned(axes, board, rows, None)
    log_axis(axes, places or [1.0])
    axes.set_xlabel(AXIS[cost])


def _front(board: Board, axes: Axes, rows: Sequence[Row], cost: Cost) -> None:
    names = {name for front in board.analysis.fronts if front.cost == cost and front.model == rows[0].model for name in front.rows}
    found = [_place(board, row, cost) for row in rows if row_name(row.method, row.capacity) in names]
    points = sorted(place for place in found if place)
    if len(points) > 1:
        axes.step([x for x, _ in points], [y for _, y in points], where="post", color="#AAAAAA", linewidth=1.0, zorder=1)


def _place(board: Board, row: Row, cost: Cost) -> tuple[float, float] | None:
    x, score = cost_of(row, cost), score_of(board, row, None)
    return (x, score.mean) if x is not None and score is not None else None
