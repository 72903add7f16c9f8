"""What the trials of a row cost, and whether that was measured with nothing beside them."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from typing import Any

from trainers.results import Outcome

MEANS = ("seconds_per_step", "flops", "macs", "forward_flops", "load_seconds")
LARGEST = ("peak_bytes", "adapter_bytes")
COSTS = (*MEANS, *LARGEST)


def costs_of(outcomes: Iterable[Outcome]) -> dict[str, Any]:
    """Return the costs of a row from its finished report runs: times and operations as means, memory and size at their largest.

    A cost that no run has, or that is not finite, is None.
    """
    profiles = [outcome.profile for outcome in outcomes]
    known = {name: [value for profile in profiles if _is_known(value := getattr(profile, name))] for name in COSTS}
    means = {name: statistics.fmean(known[name]) if known[name] else None for name in MEANS}
    return means | {name: max(known[name], default=None) for name in LARGEST}


def _is_known(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def company(outcomes: Sequence[Outcome]) -> list[str]:
    """Return a mark for a row of a solo sweep some of whose runs were not solo, as they had been run before the sweep asked for it."""
    mixed = sum(not is_solo(outcome) for outcome in outcomes)
    if not mixed:
        return []
    share = f"{mixed} of {len(outcomes)} {'run' if len(outcomes) == 1 else 'runs'}"
    reason = f"{share} had no fresh process, or other trials beside it"
    return [f"s/step and peak memory are no profile: {reason}. Fix: give the sweep another name and run it again"]


def pack_width(outcomes: Iterable[Outcome]) -> int | None:
    """Return the width of the widest pack that trials were part of; None where each computed by itself."""
    executions = (outcome.environment.get("execution") for outcome in outcomes)
    widths = [width for found in executions if isinstance(found, dict) and isinstance(width := found.get("packed"), int) and width > 1]
    return max(widths, default=None)


def is_solo(outcome: Outcome) -> bool:
    """Tell whether a trial ran in a fresh process with no trial beside it."""
    execution = outcome.environment.get("execution")
    return isinstance(execution, dict) and execution.get("solo") is True
