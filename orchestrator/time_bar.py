"""A bar of where the time of a run went, for a terminal of any width, with or without colour."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

WIDEST = 80
GAP = "  "
STYLES: Mapping[str, tuple[str, str, str]] = {
    "train": ("█", "#", "green"),
    "evaluate": ("▓", "=", "cyan"),
    "swap": ("▒", "s", "yellow"),
    "load": ("░", "l", "blue"),
    "store": ("▪", "w", "magenta"),
    "wait": ("┄", "~", "red"),
    "start": ("▁", "_", "bright_black"),
    "idle": ("·", ".", "red"),
    "finish": ("▔", "-", "bright_black"),
}
"""Part -> its character, the one where only ASCII can be shown, and its colour. The characters alone tell the parts apart."""
SHOWN = 0.0005
"""Smaller shares are left out of the legend."""


@dataclass(frozen=True)
class TimeBar:
    """One line of characters in proportion, and below it what they stand for.

    Attributes:
        seconds: by part.
    """

    seconds: Mapping[str, float]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Give the bar and its legend."""
        whole = sum(self.seconds.values())
        if not whole:
            return
        shares = {part: seconds / whole for part, seconds in self.seconds.items() if seconds > 0}
        width, plain = options.max_width, options.ascii_only
        bar = Text(no_wrap=True)
        for part, cells in _cells(shares, min(WIDEST, width)).items():
            mark, style = _mark(part, plain)
            bar.append(mark * cells, style)
        yield bar
        named = sorted((item for item in shares.items() if item[1] >= SHOWN), key=lambda item: -item[1])
        yield from _filled([Text.assemble(_mark(part, plain), f" {part} {share:.1%}") for part, share in named], width)


def _filled(entries: Iterable[Text], width: int) -> Iterator[Text]:
    """Put entries into as few lines as they fit in, none of them broken."""
    line = Text()
    for entry in entries:
        if line and line.cell_len + len(GAP) + entry.cell_len > width:
            yield line
            line = Text()
        line = line + GAP + entry if line else entry
    yield line


def _mark(part: str, ascii_only: bool) -> tuple[str, str]:
    character, plain, style = STYLES[part]
    return (plain if ascii_only else character), style


def _cells(shares: Mapping[str, float], width: int) -> dict[str, int]:
    """Return how many of a line's characters each part gets: in all exactly `width`, the largest remainders rounded up."""
    exact = {part: share * width for part, share in shares.items()}
    cells = {part: int(size) for part, size in exact.items()}
    left = width - sum(cells.values())
    for part in sorted(exact, key=lambda part: cells[part] - exact[part])[:left]:
        cells[part] += 1
    return cells
