"""Rank ladders: what the methods that come in several sizes reach, size by size."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.leaderboard.board import Board
from orchestrator.leaderboard.export.figures.labels import drawable, log_axis
from orchestrator.leaderboard.export.figures.panels import legend, panels
from orchestrator.leaderboard.export.figures.scores import Score, axis_title, cost_of, draw_untuned, score_of
from orchestrator.leaderboard.export.figures.style import Drawing, Styles, new_figure
from orchestrator.leaderboard.row import Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Ladder = Sequence[tuple[float, Score]]


def ladders(board: Board, model: str, slug: str) -> Iterator[Drawing]:
    """Yield the ladders of one base model, on average and by task; none where no method comes in two sizes."""
    rows = [row for row in board.rows if row.model == model]
    shown: list[str | None] = [None, *board.tasks] if len(board.tasks) > 1 else [None]
    shown = [task for task in shown if _ladders(board, rows, task)]
    if shown:
        caption = f"Test score of every size of a method against its trainable parameters (logarithmic), {model}. "
        caption += "Bars: 95 % confidence intervals, where there are three seeds or more."
        yield Drawing(f"ladders-{slug}", caption, lambda: _draw(board, model, rows, shown))


def _draw(board: Board, model: str, rows: Sequence[Row], tasks: Sequence[str | None]) -> Figure:
    styles = Styles(board)
    figure, grid = panels(lambda width, height: new_figure(board, model, width, height), len(tasks))
    for axes, task in zip(grid, tasks, strict=True):
        found = _ladders(board, rows, task)
        for label, ladder in found.items():
            _line(axes, styles, label, ladder)
        draw_untuned(axes, board, rows, task)
        log_axis(axes, [x for ladder in found.values() for x, _ in ladder])
        axes.set_title(drawable(axis_title(board, task), 60), loc="left")
        axes.set_xlabel("trainable parameters")
    legend(figure, grid)
    return figure


def _line(axes: Axes, styles: Styles, label: str, ladder: Ladder) -> None:
    means = [score.mean for _, score in ladder]
    below = [score.mean - score.ci[0] if score.ci else 0.0 for _, score in ladder]
    above = [score.ci[1] - score.mean if score.ci else 0.0 for _, score in ladder]
    error = [below, above] if any(score.ci for _, score in ladder) else None
    line: dict[str, Any] = {"marker": styles.marker(label), "color": styles.color(label), "label": drawable(label)}
    axes.errorbar([x for x, _ in ladder], means, yerr=error, elinewidth=0.8, capsize=2, **line)


def _ladders(board: Board, rows: Sequence[Row], task: str | None) -> Mapping[str, Ladder]:
    """Return label -> (parameters, score) from the smallest on, of the labels with two sizes or more."""
    found: dict[str, list[tuple[float, Score]]] = {}
    for row in rows:
        x, score = cost_of(row, "trainable"), score_of(board, row, task)
        if x is not None and score is not None:
            found.setdefault(row.method, []).append((x, score))
    return {label: sorted(ladder) for label, ladder in found.items() if len({x for x, _ in ladder}) > 1}
