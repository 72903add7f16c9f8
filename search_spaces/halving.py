"""Successive halving: the section of the sweep file, and the steps at which its rungs are.

The scheme is that of Jamieson and Talwalkar 2016 (Non-stochastic best arm identification, Algorithm 1): all points train up to a rung,
the best share of them goes on to the next.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import prod
from typing import Any

from pydantic import Field

from search_spaces.errors import Fault
from search_spaces.faults import Section, join
from search_spaces.trial import Checkpointing

LENGTH_AXES = ("epochs", "steps", "batch_size")
"""Axes that would give points of one method different lengths, so that a rung would not compare like with like."""


class HalvingSection(Section):
    """`{reduction: 3, min_steps: 100}`: the same rungs, and the same number of survivors, for every method."""

    reduction: int = Field(default=3, ge=2)
    """One of so many points goes on beyond a rung, and the next rung is so many times further."""
    min_steps: int = Field(default=100, ge=1)
    """Optimiser steps before which no point is given up."""


def evaluation_steps(steps: int, evaluations: int) -> tuple[int, ...]:
    """Return the optimiser steps after which a trial is evaluated, ascending: equally spaced, the last step among them.

    Args:
        steps: of the whole trial.
        evaluations: as written; never more than one per step.
    """
    count = min(evaluations, max(1, steps))
    return tuple(dict.fromkeys(round(steps * (n + 1) / count) for n in range(count)))


def rung_steps(section: HalvingSection, steps: int, evaluations: int) -> tuple[int, ...]:
    """Return the steps of the rungs below the full length: the first evaluation at or after `min_steps * reduction^r`, for r from 0."""
    found: dict[int, None] = {}
    bound = section.min_steps
    while bound < steps:
        step = next(step for step in evaluation_steps(steps, evaluations) if step >= bound)
        if step < steps:
            found[step] = None
        bound *= section.reduction
    return tuple(found)


def halving_faults(raw: Mapping[str, Any]) -> Iterable[Fault]:
    """Yield what keeps a sweep from being halved: found on the mapping as written."""
    written = raw.get("halving")
    if not isinstance(written, Mapping):
        return
    section = HalvingSection.model_construct(**{key: written.get(key, info.default) for key, info in HalvingSection.model_fields.items()})
    algorithm = _mapping(raw, "search").get("algorithm", "grid")
    if algorithm != "grid":
        fix = "remove `halving`, or write `search: {algorithm: grid}`"
        yield Fault("halving", f"only a grid is halved, and search.algorithm is {algorithm!r}, which decides its points one by one", fix)
    grid = _mapping(raw, "grid")
    for axis in LENGTH_AXES:
        if axis in grid:
            yield Fault(join("grid", axis), "points of different length cannot be halved at the same rungs", "remove it here or `halving`")
    if not all(isinstance(value, int) and value >= least for value, least in ((section.reduction, 2), (section.min_steps, 1))):
        return
    count = prod(len(values) for values in grid.values() if isinstance(values, list))
    if algorithm == "grid" and 0 < count < section.reduction:
        fix = "write more points under `grid`, or remove `halving`"
        yield Fault("halving.reduction", f"{section.reduction} is more than the {count} points of the grid, of which one is to go on", fix)
    yield from _length_faults(raw, section)


def _length_faults(raw: Mapping[str, Any], section: HalvingSection) -> Iterable[Fault]:
    """Yield the tasks whose training has no rung below its full length."""
    training = _mapping(raw, "training")
    sections = {"training": training}
    for task, override in _mapping(raw, "tasks").items():
        if isinstance(override, Mapping) and (own := _mapping(override, "training")):
            sections[join("tasks", task, "training")] = {**training, **({"steps": None} if "epochs" in own else {}), **own}
    for path, content in sections.items():
        steps = content.get("steps")
        if steps is None and "steps" not in _mapping(raw, "grid"):
            fix = f"write `{path}: {{steps: ...}}`, the same budget in optimiser steps"
            yield Fault(path, "halving needs the length of a trial in steps, and `steps` is not set", fix)
        elif isinstance(steps, int) and steps > 0 and not rung_steps(section, steps, _evaluations(training, content)):
            text = f"no evaluation of {steps} steps lies at or after step {section.min_steps} (halving.min_steps) and before the end"
            yield Fault(join(path, "checkpoint.evaluations"), text, "write more evaluations, or a smaller `halving: {min_steps: ...}`")


def _evaluations(training: Mapping[str, Any], content: Mapping[str, Any]) -> int:
    """Return the number of evaluations of a section that is laid over another one."""
    both = {**_mapping(training, "checkpoint"), **_mapping(content, "checkpoint")}
    count = both.get("evaluations", Checkpointing.model_fields["evaluations"].default)
    return count if isinstance(count, int) and count > 0 else 1


def _mapping(raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = raw.get(key)
    return value if isinstance(value, Mapping) else {}
