"""What a group loads before its first trial."""

from __future__ import annotations

from typing import Any

from cluster.fleet import Fleet
from orchestrator.sweep.bases import Bases
from orchestrator.sweep.course import Course
from search_spaces.trial import DataRef, ModelRef
from trainers.results import SentinelPost

Settings = tuple[tuple[str, Any], ...]
"""DeepSpeed's settings, as pairs of key and value."""


def start_group(
    group: int, *, fleet: Fleet, bases: Bases, course: Course, deepspeed: Settings, sentinels: SentinelPost | None = None
) -> None:
    """Start a group, for the first time or anew, and let it load the base that is to be its next one.

    Args:
        sentinels: where the group records the sentinel of its environment, if there is none yet.
    """
    before = bases.drop(group)
    model = bases.choose(group, course.waiting()) or before
    if model is not None:
        bases.hold(group, model)
    fleet.start(group, None if model is None else (model, data_on(model, course), deepspeed, sentinels))


def data_on(model: ModelRef, course: Course) -> list[tuple[str, DataRef, int, int]]:
    """Return task, data, longest text and longest answer of all that is still to be trained on a base."""
    needs = {
        (t.task, t.data.digest): (t.task, t.data, t.training.max_length, t.training.max_new_tokens)
        for t in course.trials
        if t.id not in course.outcomes and t.model == model
    }
    return list(needs.values())
