"""What the columns of a leaderboard say, as plain text: scores in per cent, with their spread over the report seeds."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from rich.filesize import decimal

from orchestrator.cells import row_name
from orchestrator.leaderboard.board import Board
from orchestrator.leaderboard.published import published_metrics, quoted
from orchestrator.leaderboard.row import Interval, MetricScore, Row, TaskScore

ABSENT = "-"
NO_PROFILE = (
    "s/step and peak memory: of processes that several trials use, beside other trials; `resources: {solo: true}` measures each alone"
)
PACKED = "s/step and peak memory: not known of trials that shared a process (-); `resources: {solo: true}` measures each alone"
INTERVALS = (
    "[low, high]: 95% confidence interval of the mean over seeds and test examples, conditional on the selected grid point: the choice of "
    "the point is not in it. The untuned model is not trained: its interval is over test examples only."
)
SPREADS = "±: sample standard deviation over the report seeds, where there is no interval; it leaves out that test examples differ."
TIES = (
    "ties: rows that share a letter are not told apart at 5%, by tests of all pairs together (step-down max-t, {resamples:,} resamples); "
    "# [low, high]: the ranks that these tests leave open."
)

Column = tuple[str, Callable[[Row], str]]


def columns(board: Board) -> list[Column]:
    """Return the columns of a board as (header, text of a row); those that tell nothing on this board are left out."""
    found: list[Column] = [("#", _place), ("method", name)]
    if len({row.model for row in board.rows}) > 1:
        found.append(("model", lambda row: row.model))
    if any(row.tie_letters for row in board.rows):
        found.append(("ties", lambda row: row.tie_letters or ABSENT))
    found += [column for task in board.tasks for column in _score_columns(board, task)]
    if len(board.tasks) > 1:
        found.append(("average %", _average))
        if any(row.average_rank is not None for row in board.rows):
            found.append(("average rank", lambda row: f"{row.average_rank:.1f}" if row.average_rank is not None else ABSENT))
    return [
        *found,
        ("trainable", lambda row: f"{row.trainable:,}" if row.trainable is not None else ABSENT),
        *_costs(board),
        ("learning rate", lambda row: selected(row, board.axes)),
        ("seeds", lambda row: _over_tasks(row, lambda task: f"{task.finished}/{task.seeds}")),
    ]


def _costs(board: Board) -> list[Column]:
    """Return what a step takes; on a board of profiles also its operations, and the adapter's size and loading time."""
    measured: list[Column] = [
        ("s/step", lambda row: _rounded(row.seconds_per_step)),
        ("peak memory", lambda row: size(row.peak_bytes)),
    ]
    profiled: list[Column] = [
        ("GFLOPs/step", lambda row: _rounded(row.flops, 1e9)),
        ("GMACs/step", lambda row: _rounded(row.macs, 1e9)),
        ("adapter", lambda row: size(row.adapter_bytes)),
        ("load s", lambda row: _rounded(row.load_seconds)),
    ]
    return [*measured, *(profiled if board.solo else ())]


def name(row: Row) -> str:
    """Return the row's label with its capacity."""
    return row_name(row.method, row.capacity)


def selected(row: Row, axes: Sequence[str]) -> str:
    """Return the selected learning rate, with other axes that vary by name; one per task where they differ."""
    return _over_tasks(row, lambda task: _point(task, axes) or ABSENT)


def captions(board: Board) -> list[str]:
    """Return what the figures of the board mean."""
    scores = _scores(board)
    spreads = [SPREADS] if any(score.ci is None and score.std is not None for score in scores) else []
    return [*interval_captions(board), *spreads]


def interval_captions(board: Board) -> list[str]:
    """Return what the intervals and the tie letters of the board mean, where it has any."""
    found = [INTERVALS] if any(score.ci is not None for score in _scores(board)) else []
    tied = [family.resamples for family in board.analysis.families if family.task is None and family.budget is None]
    return [*found, TIES.format(resamples=tied[0])] if tied else found


def notes(board: Board) -> list[str]:
    """Return what must be read with the board: every row's marks and failed runs, what has no interval, and what its times are."""
    found = []
    for row in board.rows:
        found += [f"{name(row)}: {mark}" for mark in row.marks]
        for run in row.failed_runs:
            counted = ", counted as the untuned model" if run.status == "diverged" else ""
            why = f": {run.error}" if run.error else ""
            found.append(f"{name(row)}: {run.task} seed {run.seed} {run.status}{counted}{why} (run {run.run_id})")
    return [*found, *board.analysis.notes, *profile_notes(board)]


def profile_notes(board: Board) -> list[str]:
    """Return what is to be said of the rows' times and memory, if they are no profiles."""
    if board.solo:
        return []
    measured = [row.packed is None for row in board.rows if row.runs]
    return [*([NO_PROFILE] if any(measured) or not measured else []), *([] if all(measured) else [PACKED])]


def metrics(board: Board, task: str) -> list[str]:
    """Return the metrics of a task that have a column: the main one first, then the others measured, then those published only."""
    return list(dict.fromkeys([board.tasks[task], *measured_metrics(board, task), *published_metrics(board.rows, task)]))


def measured_metrics(board: Board, task: str) -> list[str]:
    """Return the metrics of a task that a row of the board has."""
    return list(dict.fromkeys(metric for row in board.rows if task in row.tasks for metric in row.tasks[task].metrics))


def percent(score: MetricScore) -> str:
    """Return a score as `61.2 [60.1, 62.3]`, or as `61.2 ± 0.8` where it has no interval."""
    if score.ci is not None:
        return f"{100 * score.mean:.1f} {_bounds(score.ci)}"
    spread = f" ± {100 * score.std:.1f}" if score.std is not None else ""
    return f"{100 * score.mean:.1f}{spread}"


def printable(line: str) -> str:
    """Return a text in one line without control characters, which a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in line)


def _scores(board: Board) -> list[MetricScore]:
    return [score for row in board.rows for task in row.tasks.values() for score in task.metrics.values()]


def _bounds(interval: Interval) -> str:
    low, high = interval
    return f"[{100 * low:.1f}, {100 * high:.1f}]"


def _place(row: Row) -> str:
    """Return a row's rank with its interval, such as `2 [1, 3]`."""
    if row.rank is None:
        return ABSENT
    return str(row.rank) if row.rank_interval is None else f"{row.rank} [{row.rank_interval[0]}, {row.rank_interval[1]}]"


def _average(row: Row) -> str:
    if row.average is None:
        return ABSENT
    return f"{100 * row.average:.1f}" if row.average_ci is None else f"{100 * row.average:.1f} {_bounds(row.average_ci)}"


def _rounded(value: float | None, unit: float = 1) -> str:
    return f"{value / unit:.3g}" if value is not None else ABSENT


def size(count: int | None) -> str:
    """Return a number of bytes, such as `1.4 GB`."""
    return decimal(count) if count is not None else ABSENT


def _score_columns(board: Board, task: str) -> list[Column]:
    found: list[Column] = []
    measured, published = measured_metrics(board, task), published_metrics(board.rows, task)
    for metric in metrics(board, task):
        if metric in measured or metric == board.tasks[task]:
            found.append((f"{task} {metric} %", _score_of(task, metric, is_main=metric == board.tasks[task])))
        if metric in published:
            found.append((f"{task} {metric} published %", _published_of(board, task, metric)))
    return found


def _score_of(task: str, metric: str, *, is_main: bool) -> Callable[[Row], str]:
    """Return the text of a score; of another metric than the main one that has an interval, the mean alone: columns are narrow."""

    def score(row: Row) -> str:
        found = row.tasks[task].metrics.get(metric) if task in row.tasks else None
        if found is None:
            return ABSENT
        return percent(found) if is_main or found.ci is None else f"{100 * found.mean:.1f}"

    return score


def _published_of(board: Board, task: str, metric: str) -> Callable[[Row], str]:
    def figures(row: Row) -> str:
        return ", ".join(f"{figure} [{board.footnotes.number(entry)}]" for entry, figure in quoted(row, task, metric)) or ABSENT

    return figures


def _point(task: TaskScore, axes: Sequence[str]) -> str:
    point = dict(task.selected or {})
    rate = point.pop("learning_rate", None)
    others = [f"{axis}={value}" for axis, value in point.items() if axis in axes]
    return " ".join([*([f"{rate:g}"] if isinstance(rate, int | float) else []), *others])


def _over_tasks(row: Row, text: Callable[[TaskScore], str]) -> str:
    texts: Sequence[str] = [text(task) for task in row.tasks.values()]
    return texts[0] if len(set(texts)) == 1 else " / ".join(texts) or ABSENT
