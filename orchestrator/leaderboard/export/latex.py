"""The board as LaTeX: a table per base model, wide ones in parts; below them what must be read with it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from orchestrator.leaderboard.board import Board
from orchestrator.leaderboard.columns import profile_notes
from orchestrator.leaderboard.export.apart import apart_tables
from orchestrator.leaderboard.export.board_columns import Column, cost_columns, name_columns, score_columns, seeds_column
from orchestrator.leaderboard.export.caption import caption
from orchestrator.leaderboard.export.document import document
from orchestrator.leaderboard.export.notes import Notes
from orchestrator.leaderboard.export.slugs import model_slugs, slug
from orchestrator.leaderboard.export.tabular import PACKAGES, Tabular
from orchestrator.leaderboard.export.tex import escape
from orchestrator.leaderboard.row import Row

WIDTH = 88.0
"""Letters that the text of a paper is wide at the size of the tables; a wider table is set in parts."""
_GAP = 2.7
"""Letters between two columns."""
_NOTES_INSIDE = 1500
"""Letters of notes that go with the table; more than these follow it, as a table that floats cannot be broken."""


def latex(board: Board) -> str:
    r"""Return the board as a file that pdfLaTeX compiles, and that a paper can take in with \input."""
    return document(board.verdict(), PACKAGES, body(board))


def body(board: Board) -> str:
    """Return the tables and their notes, without what makes them a document."""
    parts = [part for _, rows in groupby(board.rows, key=lambda row: row.model) for part in _model(board, list(rows))]
    if not parts:
        parts.append(rf"\noindent {escape(board.verdict())}. {escape(f'Sweep {board.sweep} has no row.')}\par")
    parts += apart_tables(board.analysis, f"tab:{slug(board.sweep)}-apart")
    if board.analysis.notes:
        parts.append("\n".join([r"\begingroup\footnotesize\raggedright\parindent=0pt", *_lines(board.analysis.notes), r"\endgroup"]))
    return "\n\n".join(parts)


def _model(board: Board, rows: Sequence[Row]) -> Iterator[str]:
    notes = Notes(rows)
    first = name_columns(rows, notes)
    # What a row costs stays together.
    rest = [*([column] for column in score_columns(board, rows, notes)), [*cost_columns(board, rows), *seeds_column(rows)]]
    parts = list(_parts(rows, WIDTH - sum(_GAP + column.letters(rows) for column in first), rest))
    label = f"tab:{slug(board.sweep)}-{model_slugs(board)[rows[0].model]}"
    remarks = notes.tex([note.replace("`", "") for note in profile_notes(board)])
    inside = len(remarks) <= _NOTES_INSIDE
    for number, columns in enumerate(parts, start=1):
        part = (number, len(parts)) if len(parts) > 1 else None
        below = remarks if inside and number == len(parts) else ""
        yield _table([*first, *columns], rows, caption(board, rows, part), f"{label}-{number}" if number > 1 else label, below)
    if not inside:
        yield rf"\par\noindent{{\footnotesize Notes on Table~\ref{{{label}}}:}}\par{remarks}"


def _parts(rows: Sequence[Row], width: float, groups: Sequence[Sequence[Column]]) -> Iterator[list[Column]]:
    """Yield the columns in parts that fit beside each other; a group is not divided."""
    part: list[Column] = []
    taken = 0.0
    for group in groups:
        needed = sum(_GAP + column.letters(rows) for column in group)
        if part and taken + needed > width:
            yield part
            part, taken = [], 0.0
        part += group
        taken += needed
    yield part


def _table(columns: Sequence[Column], rows: Sequence[Row], text: str, label: str, below: str) -> str:
    cells = [[column.cell(row) for column in columns] for row in rows]
    return Tabular([column.align for column in columns], [column.head for column in columns], cells, text, label, below=below).tex()


def _lines(texts: Sequence[str]) -> list[str]:
    return [rf"{escape(text)}\par" for text in texts]
