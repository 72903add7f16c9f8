"""The report runs of a cell, with what came of them."""

from __future__ import annotations

import math
from dataclasses import dataclass

from orchestrator.cells import Cell, frozen_capacity
from orchestrator.leaderboard.row import Row
from orchestrator.recorded import PlannedTrial, RecordedSweep
from orchestrator.tracking.records import RunRecord

NO_SCORE = frozenset({"loss"})
"""Test metrics that are not scores in 0..1."""


@dataclass(frozen=True)
class ReportRun:
    """A planned report run of a row with what came of it; no record when it has not run."""

    planned: PlannedTrial
    record: RunRecord | None

    @property
    def status(self) -> str:
        """The trial's status, or `missing`."""
        return self.record.status if self.record else "missing"

    @property
    def scores(self) -> dict[str, float]:
        """Test metrics of a finished run; one that is not finite is none."""
        metrics = self.record.outcome.metrics if self.record and self.status == "finished" else {}
        tests = {name.removeprefix("test/"): value for name, value in metrics.items() if name.startswith("test/")}
        return {name: value for name, value in tests.items() if name not in NO_SCORE and math.isfinite(value)}


def report_runs(sweep: RecordedSweep, cell: Cell) -> list[ReportRun]:
    """Return the report runs that a cell should have, in the order of the seeds; none where nothing is selected yet."""
    found = [(planned, sweep.trials.get(planned.id)) for planned in sweep.reports(cell)]
    return [ReportRun(planned, trial[1] if trial else None) for planned, trial in found]


def cell_of_row(row: Row, task: str) -> Cell:
    """Return the cell of a row on one of its tasks."""
    return Cell(row.model, task, row.method, frozen_capacity(row.capacity))
