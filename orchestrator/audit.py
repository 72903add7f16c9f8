"""The fairness certificate, derived again from what MLflow holds."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.cells import Cell, cell_of, row_name
from orchestrator.fairness import Certificate, Entry, Rule, certify
from orchestrator.integrity import contradictions
from orchestrator.recorded import Implementation, PlannedTrial, RecordedSweep
from orchestrator.tracking import schema
from orchestrator.tracking.records import RunRecord
from search_spaces.trial import Trial

NUMERICS = ("dtype", "deepspeed")
"""What of an Outcome's `execution` the numbers depend on; threads, workers and packing do not change what is trained."""


EXECUTION = ("threads", "workers", "micro_batch", "compute")
"""What of it belongs to the environment: it can change numbers in their last digits, as packing can, which is compared phase by phase."""


@dataclass(frozen=True)
class Audit(Certificate):
    """A certificate of what ran.

    Attributes:
        missing: planned trials without a complete run, in words.
        failures: label -> phase -> status -> number of its trials that did not finish.
        unsealed: number of runs that were delivered without a seal, so that later changes of their values cannot be seen.
    """

    missing: tuple[str, ...] = ()
    failures: Mapping[str, Mapping[str, Mapping[str, int]]] = field(default_factory=dict)
    unsealed: int = 0

    @property
    def ok(self) -> bool:
        """Whether every rule holds and nothing planned is missing."""
        return super().ok and not self.missing

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Audit:
        """Return the certificate that `to_json` wrote; its verdict is derived again."""
        content = {name: value for name, value in document.items() if name != "ok"}
        return cls(**content | {"rules": tuple(Rule(**rule) for rule in document["rules"]), "missing": tuple(document["missing"])})

    def to_json(self) -> dict[str, Any]:
        """Return the certificate as INTERFACES describes it, with the missing trials and the failed ones."""
        return {**super().to_json(), "missing": list(self.missing), "failures": self.failures, "unsealed": self.unsealed}


def audit(sweep: RecordedSweep) -> Audit:
    """Apply the fairness rules to the runs of a sweep, and compare what each run says of itself.

    A run that contradicts itself fails the rule that the contradiction concerns. One whose trial, result or digest is not what was
    delivered is not counted besides: its trial is missing.
    """
    certificate = certify([entry_of(sweep, trial, record) for trial, record in sweep.trials.values()], sweep.conduct)
    deviations: dict[str, list[str]] = {}
    for rule, text in _findings(sweep):
        deviations.setdefault(rule, []).append(text)
    return Audit(
        tuple(_with_deviations(rule, deviations.get(rule.id, ())) for rule in certificate.rules),
        missing=(*(_words(phase, planned) for phase, planned in sweep.missing()), *_open(sweep)),
        failures=_failures(sweep),
        unsealed=sum(schema.SEAL not in record.tags for _, record in sweep.trials.values()),
    )


def entry_of(sweep: RecordedSweep, trial: Trial, record: RunRecord) -> Entry:
    """Return a run as the fairness rules see it: what was observed, with what the plan recorded of its method."""
    outcome, execution = record.outcome, record.outcome.environment.get("execution")
    method = sweep.plan.implementations.get(trial.label, Implementation(method=trial.method.name))
    budgets = sweep.plan.spec.budgets
    return Entry(
        trial=trial,
        main=sweep.plan.main_metrics.get(trial.task, ""),
        counts=outcome.counts,
        reads=method.reads,
        roles=sweep.roles.get(cell_of(trial)),
        trains_extra=method.trains_extra,
        is_control=method.is_control,
        head_schedule=method.head_schedule,
        defaults=method.defaults,
        optimizer=sweep.plan.spec.training.optimizer,
        budgets=sweep.budgets.get(cell_of(trial), ()),
        tolerance=budgets.tolerance if budgets else 0.0,
        status=outcome.status,
        usage=outcome.usage,
        data_digests=outcome.data_digests,
        numerics={name: execution.get(name) for name in NUMERICS} if isinstance(execution, Mapping) else None,
        environment=environment_of(outcome.environment),
        packed=_packed(execution),
        metrics=outcome.metrics,
    )


def environment_of(recorded: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return library versions, class of hardware, threads and workers of an Outcome's environment; None where it says nothing of them."""
    found = {part: recorded[part] for part in ("versions", "hardware") if recorded.get(part)}
    execution = recorded.get("execution")
    if found and isinstance(execution, Mapping):
        found["execution"] = {name: execution[name] for name in EXECUTION if name in execution}
    return found or None


def _packed(execution: Any) -> int | None:
    width = execution.get("packed") if isinstance(execution, Mapping) else None
    return width if isinstance(width, int) else None


def _findings(sweep: RecordedSweep) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with single runs, and with the plan: the rule that it concerns, and what it is."""
    for trial, record in sweep.trials.values():
        for rule, text in contradictions(record):
            yield rule, f"{_place(cell_of(trial))}run {record.run_id} {text}"
        if record.rivals:
            runs = ", ".join((record.run_id, *record.rivals))
            yield "F5", f"{_place(cell_of(trial))}trial {record.trial_id} stands {1 + len(record.rivals)} times: runs {runs}"
    for run in sweep.rejected:
        yield run.rule, f"{_place(run.cell)}run {run.record.run_id} is not counted: {run.reason}"
    if sweep.plan_edited:
        yield "F13", f"plan.json was edited: its trials, seeds or budgets are not those of digest {sweep.plan.digest}"


def _place(cell: Cell | None) -> str:
    return f"{row_name(cell.label, cell.config)} on {cell.task} with {cell.model}: " if cell else ""


def _failures(sweep: RecordedSweep) -> dict[str, dict[str, dict[str, int]]]:
    found: dict[str, dict[str, dict[str, int]]] = {}
    for trial, record in sweep.trials.values():
        if record.status not in ("finished", "pruned"):
            counts = found.setdefault(trial.label, {}).setdefault(trial.phase, {})
            counts[record.status] = counts.get(record.status, 0) + 1
    return found


def _with_deviations(rule: Rule, deviations: Iterable[str]) -> Rule:
    added = list(deviations)
    if not added:
        return rule
    return replace(rule, ok=False, evidence={**rule.evidence, "deviations": [*rule.evidence.get("deviations", ()), *added]})


def _open(sweep: RecordedSweep) -> Iterator[str]:
    """Yield the cells whose search has not come to its end, and whose next points depend on what is missing."""
    for cell, count in sweep.open_points.items():
        yield f"{cell}: {count} points that its search has still to ask for"


def _words(phase: str, planned: PlannedTrial) -> str:
    point = ", ".join(f"{axis}={value}" for axis, value in planned.point.items())
    return f"{planned.cell}: {phase} seed {planned.seed}{f' at {point}' if point else ''}"
