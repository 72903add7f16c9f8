"""What figures plot of a row: scores in per cent with their intervals, against what the row costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from orchestrator.leaderboard.analysis import Cost
from orchestrator.leaderboard.board import Board
from orchestrator.leaderboard.export.figures.panels import UNTUNED
from orchestrator.leaderboard.export.figures.style import MUTED, Styles
from orchestrator.leaderboard.row import Interval, Row
from search_spaces.trial import BASE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AXIS: Mapping[Cost, str] = {
    "trainable": "trainable parameters",
    "adapter_bytes": "stored adapter (bytes)",
    "seconds_per_step": "seconds per step",
    "peak_bytes": "peak memory (bytes)",
}


class Score(NamedTuple):
    """A score and its interval, in per cent."""

    mean: float
    ci: Interval | None


def score_of(board: Board, row: Row, task: str | None) -> Score | None:
    """Return a row's score on a task, or on average over all tasks; None where there is none."""
    tasks = list(board.tasks)
    if task is None and len(tasks) > 1:
        return _percent(row.average, row.average_ci) if row.average is not None else None
    found = row.tasks.get(task or tasks[0])
    metric = found.metrics.get(found.main) if found else None
    return _percent(metric.mean, metric.ci) if metric else None


def axis_title(board: Board, task: str | None) -> str:
    """Return what the axis of scores is called."""
    if task is None and len(board.tasks) > 1:
        return "average test score %"
    name = task or next(iter(board.tasks))
    return f"{name} {board.tasks[name]} %, test"


def cost_of(row: Row, cost: Cost) -> float | None:
    """Return what a row costs; None where it is not known, or nothing is trained, which no logarithmic axis can show."""
    value = getattr(row, cost)
    return float(value) if value and row.method != BASE else None


def draw_score(axes: Axes, styles: Styles, row: Row, x: float, score: Score, label: str | None) -> None:
    """Draw one row: its marker and its interval."""
    error = [[score.mean - score.ci[0]], [score.ci[1] - score.mean]] if score.ci else None
    color = styles.color(row.method)
    axes.errorbar([x], [score.mean], yerr=error, fmt=styles.marker(row.method), color=color, elinewidth=0.8, capsize=2, label=label)


def draw_untuned(axes: Axes, board: Board, rows: Sequence[Row], task: str | None) -> None:
    """Draw the untuned model as a line."""
    for row in rows:
        if row.method == BASE and (score := score_of(board, row, task)):
            axes.axhline(score.mean, color=MUTED, linewidth=0.8, linestyle=(0, (4, 3)), label=UNTUNED)


def _percent(mean: float, ci: Interval | None) -> Score | None:
    if not math.isfinite(mean):
        return None
    return Score(100 * mean, (100 * ci[0], 100 * ci[1]) if ci else None)
