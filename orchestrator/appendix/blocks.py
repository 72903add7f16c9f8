"""What an appendix is made of, whatever it is written as. Every text is plain: the renderers escape it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.leaderboard.board import Board
from orchestrator.leaderboard.export.figures.style import Drawing


@dataclass(frozen=True)
class Paragraph:
    """A paragraph.

    Attributes:
        strong: whether it must not be overlooked.
    """

    text: str
    strong: bool = False


@dataclass(frozen=True)
class Items:
    """A list."""

    texts: Sequence[str]


@dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
        caption: what it shows.
        header: names of the columns.
        rows: cells, one for each column.
        numbers: indices of the columns that are aligned to the right.
    """

    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    numbers: frozenset[int] = frozenset()


@dataclass(frozen=True)
class Commands:
    """Lines for a shell."""

    lines: Sequence[str]


@dataclass(frozen=True)
class BoardTable:
    """The leaderboard itself, as each format shows it."""

    board: Board


@dataclass(frozen=True)
class Picture:
    """A figure, whose files lie beside the appendix."""

    drawing: Drawing


Block = Paragraph | Items | Table | Commands | BoardTable | Picture


@dataclass(frozen=True)
class Section:
    """A section; without blocks it is left out."""

    title: str
    blocks: Sequence[Block]


@dataclass(frozen=True)
class Appendix:
    """All of it.

    Attributes:
        verdict: the certificate in one line, which comes first.
        ok: whether the certificate holds.
    """

    title: str
    verdict: str
    ok: bool
    sections: Sequence[Section]

    @property
    def drawings(self) -> list[Drawing]:
        """The figures, in the order in which they appear."""
        return [block.drawing for section in self.sections for block in section.blocks if isinstance(block, Picture)]
