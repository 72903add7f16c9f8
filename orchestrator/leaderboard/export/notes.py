"""The notes of a table: each text once, cited by its number where it concerns a row."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchestrator.leaderboard.export.tex import breakable, clipped
from orchestrator.leaderboard.published import footnote
from orchestrator.leaderboard.row import FailedRun, PublishedScores, Row

NOTE_LENGTH = 600
"""Characters of a note that are printed; the JSON of the board has all of them."""


class Notes:
    """The numbered notes of the rows of a table."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._numbers: dict[str, int] = {}
        for row in rows:
            for text in (*map(footnote, row.published), *_texts(row)):
                self._numbers.setdefault(text, len(self._numbers) + 1)

    def cited(self, row: Row) -> str:
        """Return the numbers of the notes on a row, raised."""
        numbers = sorted({self._numbers[text] for text in _texts(row)})
        return rf"\textsuperscript{{{','.join(map(str, numbers))}}}" if numbers else ""

    def source(self, entry: PublishedScores) -> str:
        """Return the number of the note that says where a published figure stands, raised."""
        return rf"\textsuperscript{{{self._numbers[footnote(entry)]}}}"

    def tex(self, further: Iterable[str] = ()) -> str:
        """Return the notes as a list; none when there is nothing to say.

        Args:
            further: texts that concern the whole table.
        """
        lines = [rf"\textsuperscript{{{number}}}~{_printed(text)}\par" for text, number in self._numbers.items()]
        lines += [rf"{_printed(text)}\par" for text in further]
        if not lines:
            return ""
        return "\n".join([r"\begingroup\footnotesize\raggedright\parindent=0pt\parskip=2pt", *lines, r"\endgroup"])


def failures(runs: Iterable[FailedRun]) -> Mapping[str, list[FailedRun]]:
    """Return failed runs by what became of them, in words."""
    found: dict[str, list[FailedRun]] = {}
    for run in runs:
        counted = ", counted as the untuned model" if run.status == "diverged" else ""
        why = f": {run.error}" if run.error else ""
        found.setdefault(f"{run.task} {run.status.replace('_', ' ')}{counted}{why}", []).append(run)
    return found


def _texts(row: Row) -> list[str]:
    found = list(row.marks)
    for text, runs in failures(row.failed_runs).items():
        found.append(f"{text} ({'; '.join(f'seed {run.seed}, run {run.run_id}' for run in runs)})")
    return found


def _printed(text: str) -> str:
    return breakable(clipped(text, NOTE_LENGTH))
