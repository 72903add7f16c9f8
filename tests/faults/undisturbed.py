"""The run that nothing happens to: what every other one must end with, and how long its parts take on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.faults.records import Record


@dataclass(frozen=True)
class Undisturbed:
    """A sweep that ran from its beginning to its end.

    Attributes:
        records: Outcomes by trial id.
        board: the leaderboard's scores, by label.
        began: Unix time of the driver's start.
        ended: Unix time of its end.
    """

    records: Mapping[str, Record]
    board: Mapping[str, Any]
    began: float
    ended: float

    @property
    def select(self) -> frozenset[str]:
        return frozenset(record.trial_id for record in self.records.values() if record.selects)

    @property
    def report(self) -> frozenset[str]:
        return frozenset(record.trial_id for record in self.records.values() if record.reports)

    @property
    def seconds(self) -> float:
        return self.ended - self.began

    @property
    def longest_trial_seconds(self) -> float:
        return max(record.ended - record.started for record in self.records.values())

    def phase_seconds(self) -> dict[str, float]:
        """Return how long the parts of the run took."""
        first = min(record.started for record in self.records.values())
        selected = max(record.ended for record in self.records.values() if record.selects)
        reporting = min(record.started for record in self.records.values() if record.reports)
        last = max(record.ended for record in self.records.values())
        times = (self.began, first, selected, max(selected, reporting), last, self.ended)
        names = ("start-up", "select", "between", "report", "delivery")
        return {name: after - before for name, before, after in zip(names, times, times[1:], strict=False)}


def board_of(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the scores on the leaderboard that a run printed, by label; costs differ from run to run."""
    return {row["method"]: _scores(row["tasks"]) for row in document["leaderboard"]}


def _scores(tasks: Mapping[str, Any]) -> dict[str, Any]:
    return {task: {name: score[name] for name in ("metrics", "seeds", "finished", "selected")} for task, score in tasks.items()}
