"""Drift: whether the environments of a sweep compute the same, as its sentinels tell."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.leaderboard.analysis import Drift
from orchestrator.recorded import RecordedSweep
from orchestrator.sentinel import Sentinel, environment_of, sentinels_of
from orchestrator.tracking import schema
from orchestrator.tracking.records import RunReader
from trainers.results import platform_digest

EXECUTION = ("threads", "workers")
"""What of the way a sentinel was executed can change its last digits."""
LONGEST_VALUE = 80
CAPTION = "environments: the same small trial in each"


def drift_of(reader: RunReader, sweep: RecordedSweep) -> tuple[Drift, ...]:
    """Return the environments that the sweep's trials or sentinels ran in, the first sentinel's at the front, each against that one.

    Empty where there is no sentinel and the trials name one environment, or none.
    """
    sentinels = list(sentinels_of(reader.side_runs(sweep.plan.sweep, "sentinel")))
    stood = {platform_digest(sentinel.environment) for sentinel in sentinels}
    silent = {key: content for key, content in _environments(sweep).items() if key not in stood}
    if not sentinels and len(silent) < 2:
        return ()
    origin = sentinels[0].environment if sentinels else next(iter(silent.values()))
    found = [_drift(sentinels[0], sentinel) for sentinel in sentinels]
    return (*found, *(Drift(environment=key, changes=_changes(origin, content), deviation=None) for key, content in silent.items()))


def deviation(first: Sentinel, other: Sentinel) -> float | None:
    """Return the largest absolute difference of two sentinels' losses; None where they cannot be compared step by step."""
    if not first.losses or len(first.losses) != len(other.losses):
        return None
    differences = [abs(a - b) for a, b in zip(first.losses, other.losses, strict=True)]
    return max(differences) if all(map(math.isfinite, differences)) else None


def lines(drift: Sequence[Drift]) -> list[list[str]]:
    """Return the environments as lines of cells, the header first; none where there is only one, which has nothing to differ from."""
    if len(drift) < 2:
        return []
    rows = [[entry.environment, _told(entry), ", ".join(entry.changes) or "the first one"] for entry in drift]
    return [["environment", "largest difference of the sentinel's losses", "what differs from the first"], *rows]


def _told(entry: Drift) -> str:
    if entry.deviation is not None:
        return f"{entry.deviation:.3g}"
    return "cannot be compared" if entry.run_id else "it has not run there"


def _drift(first: Sentinel, other: Sentinel) -> Drift:
    changes = _changes(first.environment, other.environment)
    if other.trial_id != first.trial_id:
        changes = (*changes, f"sentinel {_short(first.trial_id)} -> {_short(other.trial_id)}")
    return Drift(environment=platform_digest(other.environment), changes=changes, deviation=deviation(first, other), run_id=other.run_id)


def _environments(sweep: RecordedSweep) -> dict[str, dict[str, Any]]:
    """Return the environments of the trials by digest, in the order in which they began; each text is read once."""
    records = sorted((record for _, record in sweep.trials.values()), key=lambda record: (record.started, record.run_id))
    distinct = {record.tags.get(schema.ENVIRONMENT, ""): record for record in reversed(records)}
    found: dict[str, dict[str, Any]] = {}
    for record in sorted(distinct.values(), key=lambda record: (record.started, record.run_id)):
        if "versions" in (content := environment_of(record)):
            found.setdefault(platform_digest(content), content)
    return found


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what differs between two environments, as `torch 2.12.0 -> 2.13.0`."""
    old, new = dict(_facts(before)), dict(_facts(after))
    names = [name for name in dict.fromkeys([*old, *new]) if old.get(name) != new.get(name)]
    return tuple(f"{_short(name)} {_short(old.get(name))} -> {_short(new.get(name))}" for name in names)


def _facts(environment: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for part in ("versions", "hardware"):
        yield from environment.get(part, {}).items()
    execution = environment.get("execution", {})
    yield from ((name, execution[name]) for name in EXECUTION if name in execution)


def _short(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[: LONGEST_VALUE - 3]}..."
