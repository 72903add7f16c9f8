"""What the columns of a leaderboard say, as plain text: scores in per cent, with their spread over the report seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.filesize import decimal

from orchestrator.cells import row_name
from orchestrator.leaderboard.board import Board
from orchestrator.leaderboard.row import MetricScore, Row, TaskScore

ABSENT = "-"

Column = tuple[str, Callable[[Row], str]]


def columns(board: Board) -> list[Column]:
    """Return the columns of a board as (header, text of a row); those that tell nothing on this board are left out."""
    found: list[Column] = [("#", lambda row: str(row.rank) if row.rank is not None else ABSENT), ("method", name)]
    if len({row.model for row in board.rows}) > 1:
        found.append(("model", lambda row: row.model))
    for task, main in board.tasks.items():
        found.append((f"{task} {main} %", _score_of(task, main)))
        found += [(f"{metric} %", _score_of(task, metric)) for metric in _others(board, task)]
    if len(board.tasks) > 1:
        found.append(("average %", lambda row: f"{100 * row.average:.1f}" if row.average is not None else ABSENT))
    return [
        *found,
        ("trainable", lambda row: f"{row.trainable:,}" if row.trainable is not None else ABSENT),
        ("s/step", lambda row: f"{row.seconds_per_step:.3g}" if row.seconds_per_step is not None else ABSENT),
        ("peak memory", lambda row: decimal(row.peak_bytes) if row.peak_bytes is not None else ABSENT),
        ("learning rate", lambda row: selected(row, board.axes)),
        ("seeds", lambda row: _over_tasks(row, lambda task: f"{task.finished}/{task.seeds}")),
    ]


def name(row: Row) -> str:
    """Return the row's label with its capacity."""
    return row_name(row.method, row.capacity)


def selected(row: Row, axes: Sequence[str]) -> str:
    """Return the selected learning rate, with other axes that vary by name; one per task where they differ."""
    return _over_tasks(row, lambda task: _point(task, axes) or ABSENT)


def notes(board: Board) -> list[str]:
    """Return what must be read with the board: every row's marks and failed runs."""
    found = []
    for row in board.rows:
        found += [f"{name(row)}: {mark}" for mark in row.marks]
        for run in row.failed_runs:
            counted = ", counted as the untuned model" if run.status == "diverged" else ""
            why = f": {run.error}" if run.error else ""
            found.append(f"{name(row)}: {run.task} seed {run.seed} {run.status}{counted}{why} (run {run.run_id})")
    return found


def percent(score: MetricScore) -> str:
    """Return a score as `61.2 ± 0.8`."""
    spread = f" ± {100 * score.std:.1f}" if score.std is not None else ""
    return f"{100 * score.mean:.1f}{spread}"


def _score_of(task: str, metric: str) -> Callable[[Row], str]:
    def score(row: Row) -> str:
        found = row.tasks[task].metrics.get(metric) if task in row.tasks else None
        return percent(found) if found else ABSENT

    return score


def _others(board: Board, task: str) -> list[str]:
    """Return the metrics of a task beside the main one."""
    scores = [row.tasks[task] for row in board.rows if task in row.tasks]
    return list(dict.fromkeys(name for score in scores for name in score.metrics if name != score.main))


def _point(task: TaskScore, axes: Sequence[str]) -> str:
    point = dict(task.selected or {})
    rate = point.pop("learning_rate", None)
    others = [f"{axis}={value}" for axis, value in point.items() if axis in axes]
    return " ".join([*([f"{rate:g}"] if isinstance(rate, int | float) else []), *others])


def _over_tasks(row: Row, text: Callable[[TaskScore], str]) -> str:
    texts: Sequence[str] = [text(task) for task in row.tasks.values()]
    return texts[0] if len(set(texts)) == 1 else " / ".join(texts) or ABSENT
