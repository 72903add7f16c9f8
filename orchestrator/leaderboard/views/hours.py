"""What the trials of each method took of the machines."""

from __future__ import annotations

from orchestrator.recorded import RecordedSweep
from trainers.results import Outcome


def device_hours(sweep: RecordedSweep) -> dict[str, float]:
    """Return label -> hours from start to end of all its trials, failed ones too, times the workers of each."""
    found: dict[str, float] = {}
    for trial, record in sweep.trials.values():
        outcome = record.outcome
        hours = max(0.0, outcome.ended - outcome.started) / 3600 * _workers(outcome)
        found[trial.label] = found.get(trial.label, 0.0) + hours
    return found


def _workers(outcome: Outcome) -> int:
    execution = outcome.environment.get("execution")
    workers = execution.get("workers") if isinstance(execution, dict) else None
    return workers if isinstance(workers, int) and workers > 0 else 1
