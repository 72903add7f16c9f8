"""A sweep as MLflow holds it: the plan of one digest, joined with the runs of its trials."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pydantic import ValidationError

from orchestrator.cells import Cell, cell_of
from orchestrator.fairness import NO_DOMAIN, Conduct, Edge, edges_by_cell
from orchestrator.halving import bracket_of
from orchestrator.integrity import altered_digest, delivered_under, unreadable
from orchestrator.other_reads import other_reads
from orchestrator.plan_document import Implementation, PlanDocument, PlannedTrial, edited
from orchestrator.replay import Replay, open_points, replay
from orchestrator.resolution import Refusal
from orchestrator.selection import Result, Selection, select_point, stands
from orchestrator.tracking import schema
from orchestrator.tracking.records import RunReader, RunRecord, SweepRun
from search_spaces.errors import TrackingError
from search_spaces.trial import Phase, Trial
from trainers.results import Counts, Status

__all__ = ["Implementation", "PlanDocument", "PlannedTrial", "RecordedSweep", "RejectedRun", "load", "twin"]


@dataclass(frozen=True)
class RejectedRun:
    """A run that belongs to a sweep, and is not counted: what it holds is not what was delivered.

    Attributes:
        cell: what it was planned for; None where the plan does not know it.
        rule: id of the fairness rule that it concerns.
        reason: in words.
    """

    record: RunRecord
    cell: Cell | None
    rule: str
    reason: str


class RecordedSweep:
    """The plan of a sweep and the complete runs of its trials. Whoever computes a board or an audit starts here.

    A run belongs to the plan by its trial's id, which says all that changes its numbers, whatever digest it ran under: a select
    trial when the plan lists it, a report trial when it is a listed select trial in the other phase, on one of the report seeds.
    Besides, every run that was delivered under this digest belongs to it: nothing that ran can be left out of an audit.

    Args:
        document: plan.json.
        records: the runs of the sweep's experiment.
        sweep_runs: its runs of kind `sweep`; without them, what they say is not known.

    Raises:
        TrackingError: the document is not a plan of this version of fairsweep.
    """

    def __init__(self, document: Mapping[str, Any], records: Iterable[RunRecord], sweep_runs: Sequence[SweepRun] = ()) -> None:
        try:
            self.plan = PlanDocument.model_validate(document)
        except ValidationError as error:
            reason = f"plan.json of sweep {document.get('sweep')!r} was not written by this version of fairsweep"
            raise TrackingError(f"{reason}: {error.errors()[0]['msg']} at {error.errors()[0]['loc']}. Fix: run the sweep again") from error
        self.plan_edited = edited(document, self.plan)
        self.sweep_runs = tuple(sweep_runs)
        self._reports: dict[Cell, list[PlannedTrial]] = {}
        self._digests = {run.digest for run in self.sweep_runs}
        self._delivered = {record.trial_id: record for record in records if record.delivered}

    @cached_property
    def bracket(self) -> str:
        """Under what the select trials of a cell compete where the sweep is halved; else empty."""
        return bracket_of(self.plan.spec.halving, self.plan.points, self.plan.spec.seeds.select)

    @cached_property
    def counts(self) -> dict[Cell, Counts]:
        """Trainable parameters of every planned cell, those of the untuned model left out."""
        fields = Counts.model_fields
        return {c.cell: Counts(**{k: v for k, v in c.counts.items() if k in fields}) for c in self.plan.cells}

    @cached_property
    def budgets(self) -> dict[Cell, tuple[int, ...]]:
        """The parameter budgets that the cells' capacities were solved for."""
        return {c.cell: c.budgets for c in self.plan.cells}

    @cached_property
    def roles(self) -> dict[Cell, tuple[str, ...] | None]:
        """The roles that every cell adapts; None where the plan does not say."""
        return {c.cell: c.roles for c in self.plan.cells}

    @property
    def refused(self) -> list[Refusal]:
        """Cells that a method's definition does not cover."""
        return [Refusal(c.label, dict(c.capacity), c.model, c.task, c.reason) for c in self.plan.refused]

    @cached_property
    def trials(self) -> dict[str, tuple[Trial, RunRecord]]:
        """Every trial that ran, by id, under the names that this plan gives it, with its run; in the order of the plan."""
        found = list(self._sorted_out[0])
        order = {trial_id: number for number, trial_id in enumerate(self._listed)}
        cells = {cell: number for number, cell in enumerate(self.counts)}
        # The report trials, which no plan lists, follow by cell and seed.
        last = len(order), len(cells)
        found.sort(key=lambda f: (order.get(f[1].trial_id, last[0]), cells.get(cell_of(f[0]), last[1]), f[0].seed, f[1].trial_id))
        return {record.trial_id: (trial, record) for trial, record in found}

    @property
    def rejected(self) -> list[RejectedRun]:
        """Runs that belong to this sweep and are not counted, because they were changed after their delivery."""
        return self._sorted_out[1]

    @cached_property
    def select(self) -> tuple[PlannedTrial, ...]:
        """The select trials that are known: all of a grid; of a search those that its studies ask for, given what has run."""
        if self.plan.search is None:
            return self.plan.select
        return tuple(planned for found in self._replays.values() for planned in found.trials)

    @property
    def open_points(self) -> dict[Cell, int]:
        """Number of points that a cell's study has still to ask for, where there are any."""
        return open_points(self._replays)

    @cached_property
    def _replays(self) -> dict[Cell, Replay]:
        if self.plan.search is None:
            return {}
        return replay(self.plan, self.plan.search, self._observed, self._trial_of)

    def _counted(self, trial_id: str) -> RunRecord | None:
        """Return the run of a trial, unless it was changed after its delivery."""
        record = self._delivered.get(trial_id)
        return None if record is None or unreadable(record) or self._of_no_plan(record) else record

    def _trial_of(self, trial_id: str) -> Trial | None:
        record = self._counted(trial_id)
        return record.trial if record else None

    def _observed(self, planned: PlannedTrial) -> Result | None:
        record = self._counted(planned.id)
        return self._result_of(planned, record) if record else None

    @cached_property
    def selections(self) -> dict[Cell, Selection]:
        """The selected grid point of every cell of which a select trial ran."""
        return {cell: select_point(results) for cell, results in self._results.items() if self._ran(cell)}

    @cached_property
    def edges(self) -> dict[Cell, tuple[Edge, ...]]:
        """The cells whose selected point stands and lies on an edge of the grid, with these edges."""
        standing = {cell: selection for cell, selection in self.selections.items() if stands(self._results[cell])}
        reads = {label: method.reads for label, method in self.plan.implementations.items()}
        return edges_by_cell(standing, self.plan.points, reads, self.plan.search.axes if self.plan.search else NO_DOMAIN)

    @cached_property
    def conduct(self) -> Conduct:
        """What the rules need to know beside the trials."""
        search, own = self.plan.spec.search, [run for run in self.sweep_runs if run.digest == self.plan.digest]
        report_ids = {trial_id for trial_id, (trial, _) in self.trials.items() if trial.phase == "report"}
        return Conduct(
            accepted_edge=search.accept_edge or any(run.tags.get(schema.ACCEPTED_EDGE) == "true" for run in own),
            extended={axis: ends.model_dump() for axis, ends in search.extended.items()},
            selected=not self.open_points and all(planned.id in self.trials for planned in self.select),
            halving=self.plan.spec.halving,
            others=other_reads(self._delivered.values(), self.plan.digest, report_ids, self.counts),
            study=self.plan.search,
        )

    def reports(self, cell: Cell) -> list[PlannedTrial]:
        """Return the report trials that a cell should have at its selected point; none where nothing is selected yet."""
        if cell not in self._reports:
            self._reports[cell] = self._due(cell)
        return self._reports[cell]

    def _due(self, cell: Cell) -> list[PlannedTrial]:
        if cell.is_base:
            return [planned for planned in self.plan.base_trials if planned.cell == cell]
        selection = self.selections.get(cell)
        chosen = selection and next((t for t in self._ran(cell) if t.point == selection.point), None)
        return [_planned(twin(chosen, "report", seed)) for seed in self.plan.spec.seeds.report] if chosen else []

    def missing(self) -> Iterator[tuple[Phase, PlannedTrial]]:
        """Yield the planned trials that MLflow holds no complete run of, as far as they can be known."""
        yield from (("select", planned) for planned in self.select if planned.id not in self.trials)
        reports = [*self.plan.base_trials, *(planned for cell in self.counts for planned in self.reports(cell))]
        yield from (("report", planned) for planned in reports if planned.id not in self.trials)

    @cached_property
    def _results(self) -> dict[Cell, list[Result]]:
        results: dict[Cell, list[Result]] = {}
        for planned in self.select:
            results.setdefault(planned.cell, []).append(self._result(planned))
        return results

    @cached_property
    def _listed(self) -> dict[str, PlannedTrial]:
        return {planned.id: planned for planned in (*self.select, *self.plan.base_trials)}

    @cached_property
    def _by_cell(self) -> dict[Cell, list[Trial]]:
        cells: dict[Cell, list[Trial]] = {}
        for planned in self.select:
            if planned.id in self.trials:
                cells.setdefault(planned.cell, []).append(self.trials[planned.id][0])
        return cells

    def _ran(self, cell: Cell) -> list[Trial]:
        """Return the select trials of a cell that ran, in the order of the plan."""
        return self._by_cell.get(cell, [])

    @cached_property
    def _sorted_out(self) -> tuple[list[tuple[Trial, RunRecord]], list[RejectedRun]]:
        """The trials of this sweep with their runs, and the runs that are not counted."""
        found: list[tuple[Trial, RunRecord]] = []
        rejected: list[RejectedRun] = []
        for record in self._delivered.values():
            planned = self._planned_as(record)
            if planned is None and not self._is_own(record):
                continue
            if reason := unreadable(record) or self._of_no_plan(record):
                rejected.append(RejectedRun(record, planned.cell if planned else None, *reason))
            else:
                found.append((_renamed(record.trial, planned), record))
        return found, rejected

    def _planned_as(self, record: RunRecord) -> PlannedTrial | None:
        """Return what this plan calls the trial of a run: a report trial is not listed, but its select twin is."""
        planned = self._listed.get(record.trial_id)
        if planned is not None or record.tags.get("fairsweep.phase") != "report":
            return planned
        try:
            trial = record.trial
        except TrackingError:
            return None
        if trial.phase != "report" or (trial.seed not in self.plan.spec.seeds.report and not self._is_own(record)):
            return None
        return self._listed.get(twin(trial, "select", self.plan.spec.seeds.select[0], self.bracket).id)

    def _is_own(self, record: RunRecord) -> bool:
        """Tell whether a run was delivered under this digest, also where its tag was changed since."""
        return record.tags.get(schema.DIGEST) == self.plan.digest or delivered_under(record, self.plan.digest)

    def _of_no_plan(self, record: RunRecord) -> tuple[str, str] | None:
        """Return the rule and the reason where a run's digest is not the one of its delivery, or none that MLflow holds a plan of."""
        digest = record.tags.get(schema.DIGEST, "")
        if altered_digest(record):
            return "F13", f"its tag {schema.DIGEST} was changed to {digest or 'nothing'} after it was delivered"
        if self._digests and digest not in self._digests:
            fix = "Fix: restore that sweep run in MLflow, or delete this run and run the sweep again"
            return "F13", f"its tag {schema.DIGEST} names {digest or 'nothing'}, of which there is no sweep run. {fix}"
        return None

    def _result(self, planned: PlannedTrial) -> Result:
        if planned.id not in self.trials:
            return Result(planned.point, planned.seed, "error", None)
        return self._result_of(planned, self.trials[planned.id][1])

    def _result_of(self, planned: PlannedTrial, record: RunRecord) -> Result:
        outcome = record.outcome
        score, loss = (outcome.metrics.get(f"selection/{name}") for name in (self.plan.main_metrics[planned.task], "loss"))
        status: Status = outcome.status
        return Result(planned.point, planned.seed, status, score, loss)


def load(reader: RunReader, sweep: str | None = None, digest: str | None = None) -> RecordedSweep:
    """Read a sweep from MLflow.

    Args:
        sweep: its name; the one that ran last when None.
        digest: the newest one when None.

    Raises:
        UnknownNameError: there is no such sweep.
        TrackingError: the store does not answer, or lacks the plan.
    """
    name = sweep or reader.latest_sweep()
    return RecordedSweep(reader.sweep_document(name, digest), reader.runs(name), reader.sweep_runs(name))


def twin(trial: Trial, phase: Phase, seed: int, bracket: str = "") -> Trial:
    """Return the same trial in another phase and on another seed; in the select phase of a halved sweep, in its bracket."""
    return trial.model_copy(update={"phase": phase, "seed": seed, "bracket": bracket})


def _renamed(trial: Trial, planned: PlannedTrial | None) -> Trial:
    """Return a trial under the label, model and point of a plan."""
    if planned is None:
        return trial
    model = trial.model.model_copy(update={"id": planned.model})
    return trial.model_copy(update={"label": planned.label, "model": model, "point": dict(planned.point)})


def _planned(trial: Trial) -> PlannedTrial:
    return PlannedTrial(
        id=trial.id,
        model=trial.model.id,
        task=trial.task,
        label=trial.label,
        capacity=trial.method.capacity,
        point=trial.point,
        seed=trial.seed,
    )
