"""Texts and numbers in figures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

from orchestrator.leaderboard.export.glyphs import ELLIPSIS

if TYPE_CHECKING:
    from matplotlib.axes import Axes

NAME_LENGTH = 32
"""Characters of a name that are shown."""
_SI = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"), (1.0, ""))


def log_axis(axes: Axes, values: Sequence[float]) -> None:
    """Make the horizontal axis logarithmic, with plain labels such as `300k`."""
    from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter, NullLocator

    low, high = min(values), max(values)
    margin = (high / low) ** 0.06 * 1.04
    axes.set_xscale("log")
    axes.set_xlim(low / margin, high * margin)
    decades = (1.0,) if high / low > 1000 else (1.0, 2.0, 5.0)
    axes.xaxis.set_major_locator(LogLocator(subs=decades) if high / low > 5 else MaxNLocator(5))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: short(value)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def short(value: float) -> str:
    """Return a number with three digits and a prefix, such as `276k`."""
    unit, prefix = next(((unit, prefix) for unit, prefix in _SI if abs(value) >= unit * 0.9995), (1.0, ""))
    return f"{value / unit:.3g}{prefix}"


def drawable(text: str, length: int = NAME_LENGTH) -> str:
    """Return a text as the figures' font can show it; a character that it lacks is written as its code point."""
    lines = ["".join(c if c.isprintable() else " " for c in line[: 4 * length]) for line in text.split("\n")]
    shown = ["".join(c if c == " " or _has(c) else f"U+{ord(c):04X}" for c in line) for line in lines]
    return "\n".join(line if len(line) <= length else line[: length - 1] + ELLIPSIS for line in shown)


@cache
def _has(character: str) -> bool:
    from matplotlib.font_manager import findfont, get_font

    return bool(get_font(findfont("DejaVu Sans")).get_char_index(ord(character)))
