"""Published figures on a leaderboard: which stand beside a row, and the footnotes that say where they come from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from orchestrator.leaderboard.row import PublishedScores, Row
from orchestrator.recorded import PlanDocument
from search_spaces.published import PublishedRow, PublishedSection, SelectedOn

SELECTED_ON: Mapping[SelectedOn, str] = {
    "evaluation": "selected on the evaluation set",
    "selection": "selected on data apart from the evaluation set",
    "unknown": "the data it was selected on are unknown",
}


@dataclass(frozen=True)
class Footnotes:
    """The footnotes of a board.

    Attributes:
        texts: footnote by source and notes; the first has the number 1.
    """

    texts: Mapping[tuple[str, tuple[str, ...]], str]

    def number(self, entry: PublishedScores) -> int:
        """Return the number of an entry's footnote."""
        return list(self.texts).index(_key(entry)) + 1

    def lines(self) -> list[str]:
        """Return the numbered footnotes."""
        return [f"[{number}] {text}" for number, text in enumerate(self.texts.values(), start=1)]


def published_scores(plan: PlanDocument, row: Row) -> tuple[PublishedScores, ...]:
    """Return what the sweep's file quotes for a row, as fractions, on tasks of this sweep."""
    section = plan.spec.published
    if section is None:
        return ()
    found = [
        _entry(section, published, plan.main_metrics)
        for published in section.rows
        if (published.method, published.capacity, published.model) == (row.method, row.capacity, row.model)
    ]
    return tuple(entry for entry in found if entry.scores)


def footnotes_of(rows: Iterable[Row]) -> Footnotes:
    """Return the footnotes of a board, numbered in the order in which its rows cite them."""
    return Footnotes({_key(entry): footnote(entry) for row in rows for entry in row.published})


def footnote(entry: PublishedScores) -> str:
    """Return where figures stand, what they were selected on, and what is known to be wrong with them."""
    return " ".join([f"{entry.citation}, {entry.table}; {SELECTED_ON[entry.selected_on]}.", *entry.notes])


def quoted(row: Row, task: str, metric: str) -> list[tuple[PublishedScores, str]]:
    """Return the published figures of one metric, each with its source, in per cent as the source prints it."""
    found = [(entry, entry.scores.get(task, {}).get(metric)) for entry in row.published]
    # Six digits restore what the fraction was made of.
    return [(entry, f"{100 * score:.6g}") for entry, score in found if score is not None]


def published_metrics(rows: Iterable[Row], task: str) -> list[str]:
    """Return the metrics of a task for which something is published."""
    return list(dict.fromkeys(metric for row in rows for entry in row.published for metric in entry.scores.get(task, ())))


def _entry(section: PublishedSection, row: PublishedRow, tasks: Iterable[str]) -> PublishedScores:
    scores = {task: row.scores[task] for task in tasks if task in row.scores}
    return PublishedScores(
        source=row.source,
        **section.sources[row.source].model_dump(),
        # Rounded, so that 90.56 becomes 0.9056 and not the fraction next to it.
        scores={task: {metric: round(percent / 100, 8) for metric, percent in metrics.items()} for task, metrics in scores.items()},
        notes=tuple(section.notes[note] for note in row.notes),
    )


def _key(entry: PublishedScores) -> tuple[str, tuple[str, ...]]:
    return entry.source, entry.notes
