"""Small multiples: panels of one figure in rows, with one legend for all."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ACROSS = 3
"""Panels side by side."""
UNTUNED = "untuned"
"""What legends call the untuned model."""
_WIDTH, _HEIGHT, _LEGEND = 2.7, 2.3, 1.7
"""Inches."""


def panels(make: Callable[[float, float], Figure], count: int) -> tuple[Figure, list[Axes]]:
    """Return a figure with so many panels; `make` takes its width and height in inches."""
    across = min(ACROSS, count)
    down = math.ceil(count / across)
    wide = 1.4 if count == 1 else 1.0
    figure = make(_LEGEND + wide * _WIDTH * across, 0.5 + wide * _HEIGHT * down)
    grid = [axes for line in figure.subplots(down, across, squeeze=False) for axes in line]
    for axes in grid[count:]:
        axes.remove()
    return figure, grid[:count]


def legend(figure: Figure, grid: Sequence[Axes]) -> None:
    """Put what the panels' legends say beside them, each entry once."""
    found: dict[str, Any] = {}
    for axes in grid:
        for handle, label in zip(*axes.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if UNTUNED in found:
        found[UNTUNED] = found.pop(UNTUNED)  # at the end
    if found:
        figure.legend(list(found.values()), list(found), loc="outside right upper")
