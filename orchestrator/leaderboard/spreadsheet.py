"""The leaderboard as CSV: numbers in full, scores in per cent."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable

from orchestrator.leaderboard.board import Board
from orchestrator.leaderboard.columns import ABSENT, interval_captions, measured_metrics, metrics, printable, selected
from orchestrator.leaderboard.published import footnote
from orchestrator.leaderboard.row import MetricScore, Row

Column = tuple[str, Callable[[Row], object]]


def comma_separated(board: Board) -> str:
    """Return the board as CSV for spreadsheets: a comment with the certificate and the captions, the header, one line per row."""
    out = io.StringIO()
    out.write(f"# {'. '.join([board.verdict(), *interval_captions(board)])}\n")
    columns = [*_names(), *(column for task in board.tasks for column in _scores(board, task)), *_measures(board)]
    if any(row.published for row in board.rows):
        columns.append(("published", _sources))
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(_cell(header) for header, _ in columns)
    for row in board.rows:
        writer.writerow(_cell(value(row)) for _, value in columns)
    return out.getvalue()


def _names() -> list[Column]:
    return [
        ("rank", lambda row: row.rank),
        ("rank low", lambda row: _bound(row.rank_interval, 0)),
        ("rank high", lambda row: _bound(row.rank_interval, 1)),
        ("ties", lambda row: row.tie_letters),
        ("method", lambda row: row.method),
        ("implementation", lambda row: row.implementation),
        ("capacity", lambda row: " ".join(f"{key}={value}" for key, value in row.capacity.items())),
        ("model", lambda row: row.model),
    ]


def _scores(board: Board, task: str) -> list[Column]:
    found: list[Column] = []
    for metric in metrics(board, task):
        if metric in measured_metrics(board, task):
            found.append((f"{task} {metric} mean %", _statistic(task, metric, lambda score: score.mean)))
            found.append((f"{task} {metric} std %", _statistic(task, metric, lambda score: score.std)))
            found.append((f"{task} {metric} ci low %", _statistic(task, metric, lambda score: _bound(score.ci, 0))))
            found.append((f"{task} {metric} ci high %", _statistic(task, metric, lambda score: _bound(score.ci, 1))))
        entries = [entry for row in board.rows for entry in row.published if metric in entry.scores.get(task, ())]
        sources = dict.fromkeys(entry.source for entry in entries)
        found += [(f"{task} {metric} published % ({source})", _published(task, metric, source)) for source in sources]
    return found


def _measures(board: Board) -> list[Column]:
    return [
        ("average %", lambda row: _percent(row.average)),
        ("average ci low %", lambda row: _percent(_bound(row.average_ci, 0))),
        ("average ci high %", lambda row: _percent(_bound(row.average_ci, 1))),
        ("average rank", lambda row: row.average_rank),
        ("trainable", lambda row: row.trainable),
        ("seconds_per_step", lambda row: row.seconds_per_step),
        ("peak_bytes", lambda row: row.peak_bytes),
        ("flops", lambda row: row.flops),
        ("macs", lambda row: row.macs),
        ("forward_flops", lambda row: row.forward_flops),
        ("adapter_bytes", lambda row: row.adapter_bytes),
        ("load_seconds", lambda row: row.load_seconds),
        ("selected", lambda row: "" if (point := selected(row, board.axes)) == ABSENT else point),
        ("finished", lambda row: sum(task.finished for task in row.tasks.values())),
        ("seeds", lambda row: sum(task.seeds for task in row.tasks.values())),
        ("failures", lambda row: row.failures),
        ("marks", lambda row: "; ".join(row.marks)),
    ]


def _statistic(task: str, metric: str, of: Callable[[MetricScore], float | None]) -> Callable[[Row], object]:
    def value(row: Row) -> float | None:
        score = row.tasks[task].metrics.get(metric) if task in row.tasks else None
        return _percent(of(score)) if score else None

    return value


def _published(task: str, metric: str, source: str) -> Callable[[Row], object]:
    def value(row: Row) -> float | None:
        found = [entry.scores[task][metric] for entry in row.published if entry.source == source and metric in entry.scores.get(task, ())]
        # Six digits restore the figure as printed.
        return round(100 * found[0], 6) if found else None

    return value


def _sources(row: Row) -> str:
    return " ".join(dict.fromkeys(f"{entry.source}: {footnote(entry)}" for entry in row.published))


def _bound(interval: tuple[float, float] | None, number: int) -> float | None:
    return interval[number] if interval is not None else None


def _percent(fraction: float | None) -> float | None:
    return 100 * fraction if fraction is not None else None


def _cell(value: object) -> object:
    """Return a CSV cell; a text that a spreadsheet would take for a formula is quoted."""
    if not isinstance(value, str):
        return value
    line = printable(value)
    return "'" + line if line.lstrip().startswith(("=", "+", "-", "@")) else line
