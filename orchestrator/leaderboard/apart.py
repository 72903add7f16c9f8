"""Tables below a board, of what is no row of it: published results, and the environments that its trials ran in."""

from __future__ import annotations

from collections.abc import Iterator

from orchestrator.leaderboard import drift, references
from orchestrator.leaderboard.analysis import Analysis

Lines = list[list[str]]


WIDEST_CELL = 32
"""Characters, where a table is shown in part."""


def tables(analysis: Analysis, longest: int | None = None) -> Iterator[tuple[str, Lines, list[str]]]:
    """Yield title, lines of cells with the header first, and what is to be read with it, of every table that has a line.

    Args:
        longest: number of published results that are shown, and with shortened cells; the rest are counted. None shows all of all.
    """
    if analysis.references:
        shown = analysis.references[:longest]
        left = len(analysis.references) - len(shown)
        more = [f"and {left} more: --format md shows all"] if left else []
        lines = references.lines(shown)
        yield (
            references.CAPTION,
            lines if longest is None else [list(map(_short, line)) for line in lines],
            [*more, *references.remarks(shown)],
        )
    if environments := drift.lines(analysis.drift):
        yield drift.CAPTION, environments, []


def _short(cell: str) -> str:
    return cell if len(cell) <= WIDEST_CELL else f"{cell[: WIDEST_CELL - 1]}…"
