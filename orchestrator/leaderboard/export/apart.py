"""The tables below the board of what is no row of it, as LaTeX: published results and environments."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.leaderboard import apart
from orchestrator.leaderboard.analysis import Analysis
from orchestrator.leaderboard.export.board_columns import NAME_LENGTH
from orchestrator.leaderboard.export.tabular import Tabular
from orchestrator.leaderboard.export.tex import breakable, clipped, escape

_LAST_LENGTH = 200
_LAST = r">{\raggedright\arraybackslash}p{48mm}"
"""The last column says where a line comes from, or what differs: in several lines."""


def apart_tables(analysis: Analysis, label: str) -> Iterator[str]:
    """Yield the tables; `label` and a number name each."""
    for number, (title, (header, *rows), remarks) in enumerate(apart.tables(analysis), start=1):
        cells = [
            [*(escape(clipped(cell, NAME_LENGTH // 2)) for cell in row[:-1]), breakable(clipped(row[-1], _LAST_LENGTH))] for row in rows
        ]
        below = "\n".join(rf"{breakable(remark)}\par" for remark in remarks)
        columns = [*"l" * (len(header) - 1), _LAST]
        yield Tabular(columns, list(map(escape, header)), cells, escape(title), f"{label}-{number}", "footnotesize", below).tex()
