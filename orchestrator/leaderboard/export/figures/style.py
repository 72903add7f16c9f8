"""How figures look: sober, told apart without colour, fonts embedded, and the same bytes every time."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.leaderboard.board import Board
from orchestrator.leaderboard.export.figures.labels import drawable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito (2008), Color Universal Design; yellow is left out, which is hard to see on white.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
ALARM, MUTED = "#B00020", "#666666"
_SETTINGS: Any = {  # typed by matplotlib as a mapping from several hundred literals
    "font.family": ["DejaVu Sans"],
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.linewidth": 0.6,
    "axes.grid": True,
    "grid.color": "#DDDDDD",
    "grid.linewidth": 0.5,
    "axes.axisbelow": True,
    "legend.frameon": False,
    "legend.fontsize": 7,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "lines.linewidth": 1.2,
    "lines.markersize": 4.5,
    "text.parse_math": False,  # a name with dollars is a name
    "axes.formatter.use_mathtext": False,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "fairsweep",
}
_METADATA: Mapping[str, Mapping[str, None]] = {
    "svg": {"Date": None, "Creator": None},
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
}
FORMATS = tuple(_METADATA)


@dataclass(frozen=True)
class Drawing:
    """A figure that can be drawn.

    Attributes:
        name: of its files, without an ending.
        caption: what it shows, in words.
        draw: makes it.
    """

    name: str
    caption: str
    draw: Callable[[], Figure]

    def render(self, *forms: str) -> list[bytes]:
        """Return the figure as files: `svg`, `pdf`."""
        with styled():
            figure = self.draw()
            # Laid out once, and in the same way for every form.
            figure.draw_without_rendering()
            figure.set_layout_engine("none")
            return [_saved(figure, form) for form in forms]


@contextmanager
def styled() -> Iterator[None]:
    """Set the style, whatever the user's own matplotlib settings are."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(_SETTINGS)
        yield


def _saved(figure: Figure, form: str) -> bytes:
    content = io.BytesIO()
    figure.savefig(content, format=form, metadata=dict(_METADATA[form]))
    return content.getvalue()


class Styles:
    """Colour and marker of every label, the same in all figures of a board."""

    def __init__(self, board: Board) -> None:
        labels = sorted({row.method for row in board.rows})
        self._number = {label: number for number, label in enumerate(labels)}

    def color(self, label: str) -> str:
        """Return a label's colour."""
        return COLORS[self._number.get(label, 0) % len(COLORS)]

    def marker(self, label: str) -> str:
        """Return a label's marker; pairs of colour and marker repeat after 70 labels."""
        return MARKERS[self._number.get(label, 0) % len(MARKERS)]


def new_figure(board: Board, title: str, width: float, height: float) -> Figure:
    """Return an empty figure under a line that says whose it is and whether its certificate holds.

    Args:
        width: inches.
        height: inches.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), layout="constrained")
    failing = not board.certificate.ok
    line = drawable(f"{board.verdict()}\n{board.sweep}, {title}", 160)
    figure.suptitle(line, x=0.01, ha="left", fontsize=8, color=ALARM if failing else MUTED, fontweight="bold" if failing else "normal")
    return figure
