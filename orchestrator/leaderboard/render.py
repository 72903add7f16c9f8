"""The leaderboard for people: a table for the terminal, Markdown, and the texts for programs.

Names and error texts come from sweep files and tracking servers: each format escapes what it would otherwise interpret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from rich.console import Group, RenderableType
from rich.text import Text

from orchestrator.leaderboard import apart, curve
from orchestrator.leaderboard.board import Board
from orchestrator.leaderboard.columns import captions, columns, notes, printable
from orchestrator.leaderboard.export.latex import latex
from orchestrator.leaderboard.spreadsheet import comma_separated
from orchestrator.leaderboard.terminal import TerminalTable
from search_spaces.errors import UnknownNameError

LONGEST_TABLE = 20
"""Published results that a terminal shows."""


def table(board: Board) -> RenderableType:
    """Return the board for a terminal: the certificate first, below the rows the captions, the footnotes, the curves and the marks."""
    style = "green" if board.certificate.ok else "bold red"
    rows = _lines(board)
    names = [number for number, header in enumerate(rows[0]) if header in ("method", "model")]
    grid = TerminalTable(rows, left=1, repeated=names, title=board.sweep)
    below = (*captions(board), *board.footnotes.lines())
    parts: list[RenderableType] = [Text(board.verdict(), style=style), grid, *map(_terminal_line, below)]
    for title, lines in _curve_tables(board):
        parts += [_terminal_line(title), TerminalTable(lines, repeated=[0])]
    for title, lines, remarks in apart.tables(board.analysis, LONGEST_TABLE):
        parts += [_terminal_line(title), TerminalTable(lines, left=0, repeated=[0]), *map(_terminal_line, remarks)]
    return Group(*parts, *map(_terminal_line, notes(board)))


def markdown(board: Board) -> str:
    """Return the board as a Markdown table: the certificate first, below the rows the captions, the footnotes, the curves and the marks."""
    below = (*captions(board), *board.footnotes.lines())
    parts = [markdown_line(board.verdict()), _markdown_table(_lines(board), left=1), *map(markdown_line, below)]
    for title, lines in _curve_tables(board):
        parts += [markdown_line(title), _markdown_table(lines, left=None)]
    for title, lines, below_it in apart.tables(board.analysis):
        parts += [markdown_line(title), _markdown_table(lines, left=0), *map(markdown_line, below_it)]
    if remarks := notes(board):
        parts.append("\n".join(f"- {markdown_line(note)}" for note in remarks))
    return "\n\n".join(parts) + "\n"


def json_text(board: Board) -> str:
    """Return the board as one JSON document."""
    return json.dumps(board.to_json(), indent=1, ensure_ascii=False, allow_nan=False) + "\n"


def html(board: Board) -> str:
    """Return the board as the self-contained page."""
    # Loads the chart library, which no other format needs.
    from orchestrator.leaderboard.page import html as page

    return page(board.to_json())


TEXTS: Mapping[str, Callable[[Board], str]] = {"json": json_text, "csv": comma_separated, "md": markdown, "latex": latex, "html": html}
"""Formats that are texts, by name; `table` is for a terminal."""


def text(board: Board, form: str) -> str:
    """Return the board in a text format.

    Raises:
        UnknownNameError: there is no such format.
    """
    if form not in TEXTS:
        raise UnknownNameError("format", form, [*TEXTS, "table"])
    return TEXTS[form](board)


def _lines(board: Board) -> list[list[str]]:
    """Return the board as lines of cells, the header first."""
    shown = columns(board)
    return [[header for header, _ in shown], *([text(row) for _, text in shown] for row in board.rows)]


def _curve_tables(board: Board) -> Iterator[tuple[str, Sequence[Sequence[str]]]]:
    """Yield the best-under-budget curves as titles and lines of cells."""
    for model, curves in board.curves.items():
        for lines in curve.tables(curves):
            yield f"{model}: {curve.CAPTION}", lines


def _terminal_line(line: str) -> Text:
    return Text(printable(line))


def _markdown_table(lines: Sequence[Sequence[str]], left: int | None) -> str:
    rule = ["---" if number == left else "---:" for number in range(len(lines[0]))]
    header, *rows = [" | ".join(map(markdown_line, line)) for line in lines]
    return "\n".join(f"| {cells} |" for cells in (header, " | ".join(rule), *rows))


def markdown_line(line: str) -> str:
    """Return a text as Markdown that shows it, in one line."""
    return re.sub(r"([\\`*\[\]|])", r"\\\1", printable(line)).replace("<", "&lt;").replace(">", "&gt;")
