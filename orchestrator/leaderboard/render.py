"""The leaderboard for people: a table for the terminal, Markdown and CSV.

Names and error texts come from sweep files and tracking servers: each format escapes what it would otherwise interpret.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Mapping

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.leaderboard.board import Board
from orchestrator.leaderboard.columns import ABSENT, columns, notes, selected
from orchestrator.leaderboard.row import Row
from search_spaces.errors import UnknownNameError


def table(board: Board) -> RenderableType:
    """Return the board for a terminal, the certificate first."""
    grid = Table(title=Text(printable(board.sweep)), title_justify="left")
    shown = columns(board)
    for number, (header, _) in enumerate(shown):
        grid.add_column(Text(printable(header)), justify="left" if number == 1 else "right", overflow="fold")
    for row in board.rows:
        grid.add_row(*(Text(printable(text(row))) for _, text in shown))
    style = "green" if board.certificate.ok else "bold red"
    return Group(Text(board.verdict(), style=style), grid, *(Text(printable(note)) for note in notes(board)))


def markdown(board: Board) -> str:
    """Return the board as a Markdown table, the certificate first."""
    shown = columns(board)
    lines = [_markdown(board.verdict()), "", _markdown_row([header for header, _ in shown])]
    lines.append(_markdown_row(["---" if number == 1 else "---:" for number in range(len(shown))], escape=False))
    lines += [_markdown_row([text(row) for _, text in shown]) for row in board.rows]
    remarks = [f"- {_markdown(note)}" for note in notes(board)]
    return "\n".join([*lines, *(["", *remarks] if remarks else [])]) + "\n"


def comma_separated(board: Board) -> str:
    """Return the board as CSV for spreadsheets: a comment with the certificate, the header, one line per row; scores in per cent."""
    out = io.StringIO()
    out.write(f"# {board.verdict()}\n")
    metrics = {(task, metric): None for row in board.rows for task, score in row.tasks.items() for metric in score.metrics}
    header = ["rank", "method", "implementation", "capacity", "model"]
    header += [f"{task} {metric} {value} %" for task, metric in metrics for value in ("mean", "std")]
    header += [
        "average %",
        "trainable",
        "seconds_per_step",
        "peak_bytes",
        "adapter_bytes",
        "selected",
        "finished",
        "seeds",
        "failures",
        "marks",
    ]
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(map(_cell, header))
    for row in board.rows:
        writer.writerow(map(_cell, _csv_row(row, metrics, selected(row, board.axes))))
    return out.getvalue()


def json_text(board: Board) -> str:
    """Return the board as one JSON document."""
    return json.dumps(board.to_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


TEXTS: Mapping[str, Callable[[Board], str]] = {"json": json_text, "csv": comma_separated, "md": markdown}
"""Formats that are texts, by name; `table` is for a terminal."""


def text(board: Board, form: str) -> str:
    """Return the board in a text format.

    Raises:
        UnknownNameError: there is no such format.
    """
    if form not in TEXTS:
        raise UnknownNameError("format", form, [*TEXTS, "table"])
    return TEXTS[form](board)


def printable(line: str) -> str:
    """Return a text in one line without control characters, which a terminal would obey."""
    return "".join(c if c.isprintable() else " " for c in line)


def _csv_row(row: Row, metrics: Mapping[tuple[str, str], None], point: str) -> list[object]:
    scores: list[object] = []
    for task, metric in metrics:
        score = row.tasks[task].metrics.get(metric) if task in row.tasks else None
        scores += [score and 100 * score.mean, 100 * score.std if score and score.std is not None else None]
    return [
        row.rank,
        row.method,
        row.implementation,
        " ".join(f"{key}={value}" for key, value in row.capacity.items()),
        row.model,
        *scores,
        100 * row.average if row.average is not None else None,
        row.trainable,
        row.seconds_per_step,
        row.peak_bytes,
        row.adapter_bytes,
        "" if point == ABSENT else point,
        sum(task.finished for task in row.tasks.values()),
        sum(task.seeds for task in row.tasks.values()),
        row.failures,
        "; ".join(row.marks),
    ]


def _cell(value: object) -> object:
    """Return a CSV cell; a text that a spreadsheet would take for a formula is quoted."""
    if not isinstance(value, str):
        return value
    line = printable(value)
    return "'" + line if line.lstrip().startswith(("=", "+", "-", "@")) else line


def _markdown_row(cells: list[str], escape: bool = True) -> str:
    return f"| {' | '.join(_markdown(cell) if escape else cell for cell in cells)} |"


def _markdown(line: str) -> str:
    return re.sub(r"([\\`*\[\]|])", r"\\\1", printable(line)).replace("<", "&lt;").replace(">", "&gt;")
