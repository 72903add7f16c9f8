"""Tables for a terminal, continued below where it is too narrow for all of their columns."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from orchestrator.leaderboard.columns import printable

LONGEST_CELL, LONGEST_NAME = 200, 60
"""Characters of a cell that are shown, and of one in a column that is repeated."""
PADDING = 3
"""Characters that a column takes beside its text."""


class TerminalTable:
    """A table of texts, none of which a terminal interprets.

    Args:
        lines: of cells, the header first.
        left: number of the column that is aligned to the left.
        repeated: numbers of the columns with which every continuation begins: the names of the lines.
        title: stands above.
    """

    def __init__(
        self, lines: Sequence[Sequence[str]], left: int | None = None, repeated: Sequence[int] = (), title: str | None = None
    ) -> None:
        longest = [LONGEST_NAME if column in repeated else LONGEST_CELL for column in range(len(lines[0]))]
        self._headers = [_header(header) for header in lines[0]]
        self._lines = [[_cell(*cell) for cell in zip(line, longest, strict=True)] for line in lines[1:]]
        self._left, self._repeated, self._title = left, repeated, title

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Yield the table in as many parts as the terminal's width asks for."""
        for number, part in enumerate(self._parts(options.max_width)):
            yield self._table(part, self._title if number == 0 else None)

    def _parts(self, width: int) -> Iterator[list[int]]:
        """Yield the numbers of the columns that fit beside each other."""
        part: list[int] = []
        for column in range(len(self._headers)):
            begun = all(other in self._repeated for other in part)
            if not begun and sum(map(self._width, [*part, column])) + 1 > width:
                yield part
                part = list(self._repeated)
            part.append(column)
        yield part

    def _width(self, column: int) -> int:
        cells = [*self._headers[column].split("\n"), *(line[column] for line in self._lines)]
        return max(map(cell_len, cells)) + PADDING

    def _table(self, part: Sequence[int], title: str | None) -> Table:
        grid = Table(title=None if title is None else Text(printable(title)), title_justify="left")
        for column in part:
            grid.add_column(Text(self._headers[column]), justify="left" if column == self._left else "right", overflow="fold")
        for line in self._lines:
            grid.add_row(*(Text(line[column]) for column in part))
        return grid


def _header(header: str) -> str:
    """Return a header in two lines of about equal length: it is longer than most of what stands below it."""
    words = _cell(header).split(" ")
    halves = [(" ".join(words[:cut]), " ".join(words[cut:])) for cut in range(1, len(words))]
    return "\n".join(min(halves, key=lambda lines: max(map(len, lines)), default=words))


def _cell(text: str, longest: int = LONGEST_CELL) -> str:
    line = printable(text)
    return line if len(line) <= longest else f"{line[: longest - 1]}…"
