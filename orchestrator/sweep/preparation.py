"""What a group loads before its first trial."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from cluster.fleet import Fleet
from orchestrator.sweep.bases import Bases
from orchestrator.sweep.course import Course
from search_spaces.trial import BASE, DataRef, ModelRef, Trial, digest
from trainers.packing.choice import Kind, PackingPost
from trainers.results import SentinelPost

Settings = tuple[tuple[str, Any], ...]
"""DeepSpeed's settings, as pairs of key and value."""


def start_group(
    group: int,
    *,
    fleet: Fleet,
    bases: Bases,
    course: Course,
    deepspeed: Settings,
    sentinels: SentinelPost | None = None,
    packing: PackingPost | None = None,
) -> None:
    """Start a group, for the first time or anew, and let it load the base that is to be its next one.

    Args:
        sentinels: where the group records the sentinel of its environment, if there is none yet.
        packing: what is measured to choose how many trials share a process, the trials left open.
    """
    before = bases.drop(group)
    model = bases.choose(group, course.waiting()) or before
    if model is None:
        fleet.start(group, None)
        return
    bases.hold(group, model)
    post = None if packing is None else replace(packing, trials=representatives(model, course))
    fleet.start(group, (model, data_on(model, course), deepspeed, sentinels, post))


def representatives(model: ModelRef, course: Course) -> tuple[Trial, ...]:
    """Return trials that stand for all that are still to be trained on a base: of each kind one of every method and capacity."""
    found: dict[tuple[Kind, str, str], Trial] = {}
    for trial in course.trials:
        if trial.model == model and trial.id not in course.outcomes and trial.method.name != BASE:
            found.setdefault((Kind.of(trial), trial.label, digest(trial.method.capacity)), trial)
    return tuple(found.values())


def data_on(model: ModelRef, course: Course) -> list[tuple[str, DataRef, int, int]]:
    """Return task, data, longest text and longest answer of all that is still to be trained on a base."""
    needs = {
        (t.task, t.data.digest): (t.task, t.data, t.training.max_length, t.training.max_new_tokens)
        for t in course.trials
        if t.id not in course.outcomes and t.model == model
    }
    return list(needs.values())
