"""The columns of the printed board: scores with their intervals, the best in bold, and what the rows cost."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rich.filesize import decimal

from orchestrator.leaderboard.board import Board
from orchestrator.leaderboard.columns import name
from orchestrator.leaderboard.export.notes import Notes
from orchestrator.leaderboard.export.tabular import stacked
from orchestrator.leaderboard.export.tex import clipped, escape, printed_letters
from orchestrator.leaderboard.published import quoted
from orchestrator.leaderboard.row import Interval, MetricScore, Row
from search_spaces.trial import BASE

NAME_LENGTH = 40
"""Letters of a name that are printed."""
_HEAD_LENGTH = 24
ABSENT = "--"
_SCORE = "r@{}l"


@dataclass(frozen=True)
class Column:
    """A column of the board; the lines of its head and the cells are LaTeX."""

    lines: tuple[str, ...]
    cell: Callable[[Row], str]
    align: str = "r"

    @property
    def head(self) -> str:
        """The head as a cell."""
        text = stacked(*self.lines)
        # A score takes two columns: the figures stand below each other, whatever is raised or lowered behind them.
        return rf"\multicolumn{{2}}{{c}}{{{text}}}" if self.align == _SCORE else text

    def letters(self, rows: Iterable[Row]) -> float:
        """Return roughly how wide the column is, in letters."""
        return max(printed_letters(text) for text in (*self.lines, *map(self.cell, rows)))


def name_columns(rows: Sequence[Row], notes: Notes) -> list[Column]:
    """Return the columns that every part of a wide table begins with: place, and name with the numbers of its notes."""

    def place(row: Row) -> str:
        between = row.rank_interval
        return ABSENT if row.rank is None else f"{row.rank}{_subscript(f'{between[0]}--{between[1]}') if between else ''}"

    named = Column(("method",), lambda row: escape(clipped(name(row), NAME_LENGTH)) + notes.cited(row), "l")
    return [Column((r"\#",), place, "l"), named]


def score_columns(board: Board, rows: Sequence[Row], notes: Notes) -> list[Column]:
    """Return one column per task, with what is published beside it, and the average of several tasks, which bears the letters."""
    found: list[Column] = []
    several = len(board.tasks) > 1
    for task, metric in board.tasks.items():
        head = escape(clipped(task, _HEAD_LENGTH)), rf"{escape(clipped(metric, _HEAD_LENGTH))} \%"
        found.append(_scores(head, rows, _of_task(task, metric), letters=not several))
        if any(metric in entry.scores.get(task, ()) for row in rows for entry in row.published):
            found.append(Column(("published", head[1]), _published(task, metric, notes)))
    if several:
        found.append(_scores((r"average \%",), rows, _average, letters=True))
    return found


def cost_columns(board: Board, rows: Sequence[Row]) -> list[Column]:
    """Return size, time and memory; the lowest time and memory are in bold where every trial ran alone."""
    trained = [row for row in rows if row.method != BASE]
    measured: list[tuple[tuple[str, ...], Callable[[Row], float | None], Callable[[float], str]]] = [
        (("s/", "step"), lambda row: row.seconds_per_step, lambda value: f"{value:.3g}"),
        (("peak", "memory"), lambda row: row.peak_bytes, size),
    ]
    found = [Column(("trainable", "parameters"), lambda row: f"{row.trainable:,}" if row.trainable is not None else ABSENT)]
    for head, value, text in measured:
        shown = [text(known) for known in sorted(_known(map(value, trained)))]
        best = shown[0] if board.solo and shown else None
        found.append(Column(head, _cost(value, text, best)))
    return found


def seeds_column(rows: Sequence[Row]) -> list[Column]:
    """Return the report seeds that finished, where a row lacks one."""
    if all(task.finished == task.seeds for row in rows for task in row.tasks.values()):
        return []

    def finished(row: Row) -> str:
        texts = [f"{task.finished}/{task.seeds}" for task in row.tasks.values()]
        return (texts[0] if len(set(texts)) == 1 else ", ".join(texts)) if texts else ABSENT

    return [Column(("seeds", "finished"), finished)]


def size(count: float) -> str:
    """Return a number of bytes, such as `1.4 GB`, that is not broken between its parts."""
    return decimal(int(count)).replace(" ", "~")


Scored = Callable[[Row], tuple[float, Interval | None, float | None] | None]
"""Mean, interval and standard deviation of a row; None where there is no score."""


def _scores(head: tuple[str, ...], rows: Sequence[Row], scored: Scored, letters: bool) -> Column:
    best = max((_percent(score[0]) for row in rows if (score := scored(row))), key=float, default=None)

    def cell(row: Row) -> str:
        if (score := scored(row)) is None:
            return f"{ABSENT} &"
        mean, ci, std = score
        shown = rf"\textbf{{{_percent(mean)}}}" if _percent(mean) == best else _percent(mean)
        raised = rf"\textsuperscript{{\,{escape(row.tie_letters)}}}" if letters and row.tie_letters else ""
        below = f"[{_percent(ci[0])}, {_percent(ci[1])}]" if ci else rf"$\pm$\,{_percent(std)}" if std is not None else ""
        return f"{shown} & {raised}{_subscript(below)}"

    return Column(head, cell, _SCORE)


def _of_task(task: str, metric: str) -> Scored:
    def score(row: Row) -> tuple[float, Interval | None, float | None] | None:
        found: MetricScore | None = row.tasks[task].metrics.get(metric) if task in row.tasks else None
        return (found.mean, found.ci, found.std) if found else None

    return score


def _average(row: Row) -> tuple[float, Interval | None, float | None] | None:
    return (row.average, row.average_ci, None) if row.average is not None else None


def _published(task: str, metric: str, notes: Notes) -> Callable[[Row], str]:
    return lambda row: ", ".join(figure + notes.source(entry) for entry, figure in quoted(row, task, metric)) or ABSENT


def _cost(value: Callable[[Row], float | None], text: Callable[[float], str], best: str | None) -> Callable[[Row], str]:
    def cell(row: Row) -> str:
        if (known := value(row)) is None:
            return ABSENT
        shown = text(known)
        return rf"\textbf{{{shown}}}" if shown == best and row.method != BASE else shown

    return cell


def _known(values: Iterable[float | None]) -> list[float]:
    return [value for value in values if value is not None]


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.1f}"


def _subscript(text: str) -> str:
    return rf"\textsubscript{{{text}}}" if text else ""
