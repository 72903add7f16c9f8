"""The fairness certificate, derived again from what MLflow holds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from orchestrator.cells import cell_of
from orchestrator.fairness import Certificate, Entry, Rule, certify
from orchestrator.recorded import Implementation, PlannedTrial, RecordedSweep
from orchestrator.tracking.records import RunRecord
from search_spaces.trial import Trial

RULE_OF_PARAM = {
    "data": "F3",
    "max_length": "F3",
    "max_new_tokens": "F3",
    "batch_size": "F4",
    "epochs": "F4",
    "steps": "F4",
    "capacity": "F2",
    "seed": "F5",
    "vary": "F5",
    "targets": "F7",
    "head": "F7",
    "also_train": "F7",
    "dtype": "F8",
    "model": "F8",
    "model_digest": "F8",
    "model_revision": "F8",
    "checkpoint": "F11",
    "method": "F12",
    "method_version": "F12",
    "setting": "F12",
    "optimizer": "F12",
    "optimizer_settings": "F12",
}
"""First part of a param's name -> the rule that it concerns; the others are hyper-parameters (F1)."""

NUMERICS = ("dtype", "deepspeed")
"""What of an Outcome's `execution` the numbers depend on; threads, workers and packing do not change what is trained."""


@dataclass(frozen=True)
class Audit(Certificate):
    """A certificate of what ran.

    Attributes:
        missing: planned trials without a complete run, in words.
    """

    missing: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether every rule holds and nothing planned is missing."""
        return super().ok and not self.missing

    def to_json(self) -> dict[str, Any]:
        """Return the certificate as INTERFACES describes it, with the missing trials."""
        return {**super().to_json(), "missing": list(self.missing)}


def audit(sweep: RecordedSweep) -> Audit:
    """Apply the fairness rules to the runs of a sweep, and compare what each run says of itself.

    A run whose params contradict its own trial fails the rule that the param concerns.
    """
    found = sweep.trials.values()
    certificate = certify([entry_of(sweep, trial, record) for trial, record in found])
    contradicted = _contradictions(record for _, record in found)
    rules = tuple(_with_deviations(rule, contradicted.get(rule.id, ())) for rule in certificate.rules)
    return Audit(rules, tuple(_words(phase, planned) for phase, planned in sweep.missing()))


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
        metrics=outcome.metrics,
    )


def _contradictions(records: Iterable[RunRecord]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for record in records:
        for text in record.contradictions():
            name = text.partition(":")[0].partition("/")[0]
            found.setdefault(RULE_OF_PARAM.get(name, "F1"), []).append(f"run {record.run_id} contradicts its trial: {text}")
    return found


def _with_deviations(rule: Rule, deviations: Iterable[str]) -> Rule:
    added = list(deviations)
    if not added:
        return rule
    return replace(rule, ok=False, evidence={**rule.evidence, "deviations": [*rule.evidence.get("deviations", ()), *added]})


def _words(phase: str, planned: PlannedTrial) -> str:
    point = ", ".join(f"{axis}={value}" for axis, value in planned.point.items())
    return f"{planned.cell}: {phase} seed {planned.seed}{f' at {point}' if point else ''}"
