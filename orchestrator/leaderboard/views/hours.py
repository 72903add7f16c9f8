"""What the trials of each method took of the machines."""

from __future__ import annotations

from orchestrator.recorded import RecordedSweep
from trainers.results import Outcome


def device_hours(sweep: RecordedSweep) -> dict[str, float]:
    """Return label -> hours of all its trials, failed ones too, times the workers of each.

    From start to end, or, of a trial in a pack, what it trained and evaluated: between start and end it waits for the others.
    """
    found: dict[str, float] = {}
    for trial, record in sweep.trials.values():
        outcome = record.outcome
        seconds = outcome.profile.train_seconds if _execution(outcome, "packed") > 1 else max(0.0, outcome.ended - outcome.started)
        found[trial.label] = found.get(trial.label, 0.0) + seconds / 3600 * _execution(outcome, "workers")
    return found


def _execution(outcome: Outcome, name: str) -> int:
    """Return how many workers, or lanes of a pack, a trial had; 1 where that is not known."""
    execution = outcome.environment.get("execution")
    number = execution.get(name) if isinstance(execution, dict) else None
    return number if isinstance(number, int) and number > 0 else 1
