"""The Plan: everything a sweep will run, known before it starts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from orchestrator import plan_json
from orchestrator.cells import Cell, cell_of, row_name
from orchestrator.collector import collector_at_rest
from orchestrator.exploration import Enumeration, Exploration, Studies
from orchestrator.fairness import NO_DOMAIN, Certificate, Conduct, Edge, Entry, certify, edges_by_cell
from orchestrator.packing import packing_obstacles, packing_of, planned_width
from orchestrator.protocol import Catalog
from orchestrator.resolution import Refusal, Resolution, refusals, resolve
from orchestrator.selection import Point, Result, Selection, select_point
from orchestrator.study_plan import study_plan
from orchestrator.sweep_digest import sweep_digest
from orchestrator.trials import TrialFactory, cells
from orchestrator.variants import Variant
from search_spaces.errors import Fault
from search_spaces.loading import Reading, read_spec
from search_spaces.packing import Packing
from search_spaces.spec import SweepSpec
from search_spaces.trial import Trial
from trainers.results import Counts, Outcome

__all__ = ["Catalog", "Cell", "Plan", "Refusal", "load_plan", "make_plan"]


@dataclass(frozen=True)
class Plan:
    """What a sweep runs, and what it promises.

    Attributes:
        spec: the sweep file.
        digest: SHA-256 of all that changes the sweep's numbers or its board.
        trials: the select trials that are known from the start, those of one base model together: the whole grid of every cell, or the
            points that every study begins with.
        base_trials: the untuned model's report trials, one per model and task that it can do, known from the start.
        cells: what is selected for and reported, in order.
        refused: cells that the definition of a method, an optimiser or a task does not cover.
        counts: trainable parameters of every cell.
        certificate: the fairness rules, applied to the plan.
    """

    spec: SweepSpec
    digest: str
    trials: tuple[Trial, ...]
    base_trials: tuple[Trial, ...]
    cells: tuple[Cell, ...]
    refused: tuple[Refusal, ...]
    counts: Mapping[Cell, Counts]
    certificate: Certificate
    found: Resolution
    factory: TrialFactory

    @property
    def exploration(self) -> Exploration:
        """What the select phase runs, given the Outcomes so far."""
        if self.factory.study is None:
            return Enumeration(self.trials)
        return Studies(self.factory.study, self.cells, self.factory.select_at, self._result)

    @property
    def main_metrics(self) -> dict[str, str]:
        """The metric that selects and ranks, by task."""
        return {name: task.card.main for name, task in self.found.tasks.items()}

    @property
    def tolerance(self) -> float:
        """Relative distance from a parameter budget up to which a row carries no mark."""
        return self.spec.budgets.tolerance if self.spec.budgets else 0.0

    @property
    def packing(self) -> Packing:
        """How the trials share processes: `off` where the file says `auto` and something cannot be packed."""
        return packing_of(self.spec, self.found.variants)

    @property
    def notes(self) -> list[str]:
        """What a reader of the plan may miss: budgets that come to one cell, and why nothing is packed."""
        shared = {key: [f"{fit.budget:,}" for fit in fits] for key, fits in self.found.fits.items() if len(fits) > 1}
        found = [
            f"{row_name(label, dict(capacity))} on {model}: the budgets {' and '.join(budgets)} come to this one cell"
            for (model, label, capacity), budgets in shared.items()
        ]
        if self.packing != self.spec.packing:
            found.append(f"packing: auto packs nothing: {'; '.join(packing_obstacles(self.spec, self.found.variants))}")
        return found

    @property
    def select_count(self) -> int:
        """Number of trials of the select phase, those included whose points a search has still to ask for."""
        return len(self.cells) * self.factory.point_count * len(self.spec.seeds.select)

    @property
    def report_count(self) -> int:
        """Number of trials of the report phase, the untuned model's among them."""
        return len(self.cells) * len(self.spec.seeds.report) + len(self.base_trials)

    def select(self, outcomes: Mapping[str, Outcome]) -> dict[Cell, Selection]:
        """Select every cell's point.

        Args:
            outcomes: trial id -> Outcome; a select trial without one counts as failed.
        """
        results: dict[Cell, list[Result]] = {}
        for trial in self.exploration.due(outcomes):
            results.setdefault(cell_of(trial), []).append(self._result(trial, outcomes.get(trial.id)))
        return {cell: select_point(found) for cell, found in results.items()}

    def edges(self, selected: Mapping[Cell, Selection]) -> dict[Cell, tuple[Edge, ...]]:
        """Return the cells whose selected point lies on an edge of the grid, with these edges."""
        reads = {variant.label: variant.reads for variant in self.found.variants}
        return edges_by_cell(selected, self.factory.points, reads, self.factory.study.axes if self.factory.study else NO_DOMAIN)

    def _result(self, trial: Trial, outcome: Outcome | None) -> Result:
        return _result(trial, outcome, self.main_metrics[trial.task])

    def report_trials(self, selected: Mapping[Cell, Point]) -> tuple[Trial, ...]:
        """Return the report trials of the cells whose point is selected; those of the untuned model are `base_trials`.

        Raises:
            ValueError: a point is not in the grid, or a cell not in the plan.
        """
        if unknown := set(selected) - set(self.cells):
            raise ValueError(f"not in this plan: {', '.join(sorted(map(str, unknown)))}")
        return tuple(trial for cell in self.cells if cell in selected for trial in self.factory.report(cell, selected[cell]))

    def entries(self, trials: Iterable[Trial]) -> list[Entry]:
        """Return trials of this plan as the fairness rules see them, nothing observed yet."""
        variants = {variant.label: variant for variant in self.found.variants}
        return [_entry(trial, variants.get(trial.label), self) for trial in trials]

    def budgets(self, cell: Cell) -> tuple[int, ...]:
        """Return the parameter budgets that a cell's capacity was solved for."""
        return tuple(fit.budget for fit in self.found.fits.get((cell.model, cell.label, cell.capacity), ()))

    def roles(self, cell: Cell) -> tuple[str, ...]:
        """Return the roles of the matrices that a cell adapts."""
        return self.found.roles[cell.model, cell.label, cell.capacity]

    def to_json(self) -> dict[str, Any]:
        """Return what `fairsweep plan --json` prints."""
        return plan_json.summary(self)

    def document(self) -> dict[str, Any]:
        """Return `plan.json`: all that a leaderboard or an audit needs that reads MLflow only."""
        return plan_json.document(self)


def make_plan(spec: SweepSpec, catalog: Catalog) -> Plan:
    """Expand a sweep to its trials, count parameters and certify it; the same sweep gives the same plan everywhere.

    Raises:
        SpecError: names that do not exist, capacities that cannot be, data or models that are missing; all of them are listed.
    """
    return _expand(Reading(spec.name, spec), catalog)


def load_plan(source: str | Path, catalog: Catalog, overrides: Sequence[str] = ()) -> Plan:
    """Read a sweep file, or a study by its name, and plan it.

    Raises:
        SpecError: every fault of the file, those of its keys and those of the names in it, in one list.
        UnknownNameError: a bare name that is no study.
    """
    return _expand(read_spec(source, overrides), catalog)


@collector_at_rest()
def _expand(reading: Reading, catalog: Catalog) -> Plan:
    spec, found = reading.spec, resolve(reading.spec, catalog)
    # A key that the file gets wrong is left out above, and may then seem to be missing.
    known = {fault.path for fault in reading.faults}
    if faults := (*reading.faults, *(fault for fault in found.faults if fault.path not in known)):
        raise reading.refuse(faults)
    factory = TrialFactory(spec, found)
    counts = {cell: found.heads[cell] for cell in cells(found) if cell in found.heads}
    if not counts:
        raise reading.refuse((_nothing_to_train(refusals(found)),))
    trials = tuple(trial for cell in counts for trial in factory.select(cell))
    base_trials = tuple(factory.base(model, task) for model in found.models for task in found.tasks if (model.id, task) in found.forms)
    plan = Plan(
        spec=spec,
        digest=_digest(spec, trials, base_trials),
        trials=trials,
        base_trials=base_trials,
        cells=tuple(counts),
        refused=tuple(refusals(found)),
        counts=counts,
        certificate=Certificate(()),
        found=found,
        factory=factory,
    )
    # Which point a cell reports is still open; no rule looks at it before it is observed, so the first stands in for it.
    reports = (trial for cell in counts for trial in factory.report(cell, factory.points[0]))
    return replace(plan, certificate=certify(plan.entries((*trials, *reports, *base_trials)), conduct_of(spec)))


def conduct_of(spec: SweepSpec) -> Conduct:
    """Return what a sweep file says of how its sweep is conducted."""
    extended = {axis: ends.model_dump() for axis, ends in spec.search.extended.items()}
    return Conduct(spec.search.accept_edge, extended, study=study_plan(spec), halving=spec.halving)


def _nothing_to_train(refused: Iterable[Refusal]) -> Fault:
    reasons = dict.fromkeys(f"{row_name(r.label, r.capacity)} on {r.model}: {r.reason}" for r in refused)
    return Fault("methods", f"nothing can be trained, every cell is refused: {'; '.join(reasons)}")


def _digest(spec: SweepSpec, trials: Iterable[Trial], base_trials: Iterable[Trial]) -> str:
    budgets = spec.budgets.model_dump(mode="json") if spec.budgets else None
    select = ((trial.label, trial.id) for trial in trials)
    search = plan_json.search_json(study_plan(spec))
    return sweep_digest(select, (trial.id for trial in base_trials), spec.seeds.report, search, budgets)


def _result(trial: Trial, outcome: Outcome | None, main: str) -> Result:
    if outcome is None:
        return Result(trial.point, trial.seed, "error", None)
    score, loss = (outcome.metrics.get(f"selection/{name}") for name in (main, "loss"))
    return Result(trial.point, trial.seed, outcome.status, score, loss)


def _entry(trial: Trial, variant: Variant | None, plan: Plan) -> Entry:
    main, optimizer = plan.main_metrics[trial.task], plan.spec.training.optimizer
    if variant is None:
        return Entry(trial, main, Counts(peak=0, stored=0), optimizer=optimizer, packed=planned_width(plan.spec, trial))
    card = variant.card
    cell = cell_of(trial)
    return Entry(
        trial,
        main,
        plan.counts[cell],
        variant.reads,
        plan.roles(cell),
        card.trains_extra,
        card.is_control,
        card.head_schedule,
        variant.defaults,
        optimizer,
        budgets=plan.budgets(cell),
        tolerance=plan.tolerance,
        packed=planned_width(plan.spec, trial),
    )
