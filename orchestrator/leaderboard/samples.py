"""From the predictions of the report runs to Samples: every seed of a row on the same examples of a task, in the same order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import pyarrow as pa

from orchestrator.cells import row_name
from orchestrator.leaderboard.report_runs import ReportRun, cell_of_row, report_runs
from orchestrator.leaderboard.row import Row
from orchestrator.leaderboard.sample import Sample
from orchestrator.leaderboard.scored_examples import ScoredExamples, scored_examples, stacked
from orchestrator.leaderboard.statistics.estimate import lacking
from orchestrator.recorded import RecordedSweep
from search_spaces.errors import DataError
from search_spaces.trial import BASE

Key = tuple[str, str, str]
"""Model, row name, task."""


class Evidence(Protocol):
    """What the report runs left besides their metrics."""

    @property
    def missing(self) -> Mapping[str, str]:
        """Run id -> why there is nothing of the run."""
        ...

    def test(self, run_id: str) -> pa.Table | None:
        """Return the predictions on the test split: `id`, `group`, `prediction`, `reference` where known, a column per row-wise metric."""
        ...

    def curves(self, run_id: str) -> Mapping[str, Sequence[tuple[int, float]]]:
        """Return the (step, value) pairs of every recorded curve."""
        ...


@dataclass(frozen=True)
class Samples:
    """The samples of a board."""

    found: Mapping[Key, Mapping[str, Sample]] = field(default_factory=dict)
    """Metric -> sample, for every row and task that has a score, predictions and enough seeds."""
    left_out: Mapping[Key, str] = field(default_factory=dict)
    """Why a row that has a score on a task has no sample of the main metric that an interval could be computed of."""

    def of(self, row: Row, task: str) -> Mapping[str, Sample]:
        """Return the samples of a row on a task by metric; none where it has none."""
        return self.found.get((row.model, row_name(row.method, row.capacity), task), {})

    def main(self, row: Row, tasks: Sequence[str]) -> list[Sample] | None:
        """Return a row's samples of the main metrics, one per task; None where one is missing."""
        found = [self.of(row, task).get(row.tasks[task].main) for task in tasks if task in row.tasks]
        known = [sample for sample in found if sample is not None]
        return known if len(known) == len(tasks) else None


def samples_of(sweep: RecordedSweep, rows: Sequence[Row], evidence: Evidence) -> Samples:
    """Return the samples of all rows.

    The examples of a task are those that most of its rows were scored on; a row of other examples is left out. A diverged run has the
    untuned model's values, as in the scores.
    """
    found: dict[Key, Mapping[str, Sample]] = {}
    left_out: dict[Key, str] = {}
    for model, task in dict.fromkeys((row.model, task) for row in rows for task in row.tasks):
        scored = [row for row in rows if row.model == model and task in row.tasks and row.tasks[task].metrics]
        known = _TaskSamples(sweep, scored, task, evidence)
        for row in scored:
            key = model, row_name(row.method, row.capacity), task
            try:
                found[key] = known.of(row)
            except DataError as error:
                left_out[key] = str(error)
    return Samples(found, left_out)


class _TaskSamples:
    """The samples of the rows of one model on one task."""

    def __init__(self, sweep: RecordedSweep, rows: Sequence[Row], task: str, evidence: Evidence) -> None:
        self._task, self._evidence = task, evidence
        self._runs = {row_name(row.method, row.capacity): report_runs(sweep, cell_of_row(row, task)) for row in rows}
        self._tables = {name: [self._read(run) for run in runs] for name, runs in self._runs.items()}
        self._examples = _usual(table for tables in self._tables.values() for table in tables)

    def of(self, row: Row) -> Mapping[str, Sample]:
        """Return a row's samples by metric; a diverged run takes the untuned model's table.

        Raises:
            DataError: the row has none.
        """
        name = row_name(row.method, row.capacity)
        tables = [self._usable(table, run) for table, run in zip(self._tables[name], self._runs[name], strict=True)]
        score = row.tasks[self._task]
        samples = {metric: stacked(metric, tables, trained=row.method != BASE) for metric in score.metrics}
        why = {metric: lacking(sample) for metric, sample in samples.items()}
        if not samples[score.main].seeds:
            raise DataError(f"the predictions do not determine {score.main}")
        if reason := why[score.main]:
            raise DataError(reason)
        return {metric: sample for metric, sample in samples.items() if not why[metric]}

    def _read(self, run: ReportRun) -> ScoredExamples | DataError | None:
        """Return a finished run's examples, or what is wrong with them; None for a diverged run."""
        if run.record is None or run.status != "finished":
            return None
        table = self._evidence.test(run.record.run_id)
        try:
            if table is None:
                raise DataError(self._evidence.missing.get(run.record.run_id, "no predictions"))
            return scored_examples(table, run.scores)
        except DataError as error:
            return error

    def _usable(self, table: ScoredExamples | DataError | None, run: ReportRun) -> ScoredExamples:
        if table is None:
            untuned = next(iter(self._tables.get(BASE, ())), None)
            if not isinstance(untuned, ScoredExamples):
                raise DataError(f"seed {run.planned.seed} diverged, and the untuned model has no predictions")
            table = untuned
        if isinstance(table, DataError):
            raise DataError(f"seed {run.planned.seed}: {table}")
        if self._examples is None or not table.ids.equals(self._examples):
            raise DataError(f"seed {run.planned.seed} was scored on other examples than most runs")
        return table


def _usual(tables: Iterable[ScoredExamples | DataError | None]) -> pa.Array | None:
    """Return the examples that most runs were scored on."""
    known: list[pa.Array] = []
    counts: Counter[int] = Counter()
    for table in tables:
        if isinstance(table, ScoredExamples):
            number = next((number for number, ids in enumerate(known) if ids.equals(table.ids)), len(known))
            known += [table.ids] if number == len(known) else []
            counts[number] += 1
    return known[counts.most_common(1)[0][0]] if counts else None
