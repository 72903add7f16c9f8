"""Faults between the sections of a sweep file, found on the mapping as written, whatever else is wrong with it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from search_spaces.errors import Fault, suggestion
from search_spaces.faults import Section, faults_of, join
from search_spaces.grid import BUDGET_AXES
from search_spaces.sections import DataSection, TrainingSection


def merged(written: Mapping[str, Any], override: Mapping[str, Any]) -> dict[str, Any]:
    """Return a section with a task's override laid over it; a budget in the override replaces the other kind of budget."""
    result = dict(written)
    if any(override.get(axis) is not None for axis in BUDGET_AXES):
        result.update(dict.fromkeys(BUDGET_AXES))
    for key, value in override.items():
        inner = result.get(key)
        result[key] = merged(inner, value) if isinstance(inner, Mapping) and isinstance(value, Mapping) else value
    return result


def model_faults(raw: Mapping[str, Any]) -> Iterable[Fault]:
    """Yield models listed twice, and targets that do not name exactly the models."""
    listed = raw["models"] if "models" in raw else [raw.get("model")]
    if not isinstance(listed, list):
        return
    ids = [model.get("id") if isinstance(model, Mapping) else model for model in listed]
    for number, name in enumerate(ids):
        if name is not None and name in ids[:number]:
            yield Fault(f"models.{number}", f"{name!r} is listed more than once")
    targets = raw.get("targets")
    known = [name for name in ids if isinstance(name, str)]
    if isinstance(targets, Mapping) and known:
        for name in targets:
            if name not in known:
                yield Fault(f"targets.{name}", f"no model of this sweep is called {name!r}. {suggestion(str(name), known)}")
        for name in known:
            if name not in targets:
                yield Fault("targets", f"the model {name!r} has no roles", f"write `targets: {{{name}: [q, v]}}`")


def budget_faults(raw: Mapping[str, Any]) -> Iterable[Fault]:
    """Yield the fault of a sweep with no budget, or with two."""
    training, grid = _mapping(raw, "training"), _mapping(raw, "grid")
    given = [axis for axis in BUDGET_AXES if training.get(axis) is not None or axis in grid]
    if len(given) != 1:
        found = "both `epochs` and `steps` are set" if given else "neither `epochs` nor `steps` is set"
        yield Fault("training", f"{found}; exactly one of them is the budget", "write, for example, `training: {epochs: 3}`")


def extension_faults(raw: Mapping[str, Any]) -> Iterable[Fault]:
    """Yield the extensions of axes that the grid does not have."""
    for axis in _mapping(_mapping(raw, "search"), "extended"):
        if axis not in _mapping(raw, "grid"):
            yield Fault(
                join("search.extended", axis), f"the grid has no axis {axis!r}. {suggestion(str(axis), map(str, _mapping(raw, 'grid')))}"
            )


def worker_faults(raw: Mapping[str, Any]) -> Iterable[Fault]:
    """Yield batch sizes that the workers of a trial cannot share evenly."""
    workers = _mapping(raw, "resources").get("workers", 1)
    if not isinstance(workers, int) or workers < 2:
        return
    axis, sizes = _mapping(raw, "grid").get("batch_size"), {}
    if isinstance(axis, list):
        sizes = {f"grid.batch_size.{number}": size for number, size in enumerate(axis)}
    else:
        sizes["training.batch_size"] = _mapping(raw, "training").get("batch_size", TrainingSection.model_fields["batch_size"].default)
        for task, section in _mapping(raw, "tasks").items():
            override = _mapping(section, "training") if isinstance(section, Mapping) else {}
            if "batch_size" in override:
                sizes[join("tasks", task, "training", "batch_size")] = override["batch_size"]
    for path, size in sizes.items():
        if isinstance(size, int) and size % workers:
            yield Fault(path, f"{size} examples do not divide by the {workers} workers of a trial", f"write a multiple of {workers}")


def override_faults(raw: Mapping[str, Any]) -> Iterable[Fault]:
    """Yield what is wrong with the tasks' overrides of `data` and `training`."""
    grid = _mapping(raw, "grid")
    for task, section in _mapping(raw, "tasks").items():
        if not isinstance(section, Mapping):
            continue
        training = _mapping(section, "training")
        yield from _section_faults(f"tasks.{task}.data", DataSection, _mapping(raw, "data"), _mapping(section, "data"))
        yield from _section_faults(f"tasks.{task}.training", TrainingSection, _mapping(raw, "training"), training)
        if all(training.get(axis) is not None for axis in BUDGET_AXES):
            yield Fault(f"tasks.{task}.training", "both `epochs` and `steps` are set; exactly one of them is the budget")
        if "optimizer" in training:
            yield Fault(
                f"tasks.{task}.training.optimizer",
                "the optimiser is one for all tasks",
                "write `training: {optimizer: ...}`, or a label with an optimiser of its own",
            )
        for key in training:
            if (key in grid and key in TrainingSection.model_fields) or (key in BUDGET_AXES and any(axis in grid for axis in BUDGET_AXES)):
                yield Fault(f"tasks.{task}.training.{key}", "the grid varies it for every task", "remove it here or there")


def _section_faults(path: str, kind: type[Section], written: Mapping[str, Any], override: Mapping[str, Any]) -> list[Fault]:
    """Return the faults that an override brings in; those of the section that it overrides are reported there."""
    if not override:
        return []
    own = _faults(kind, merged(written, override))
    elsewhere = {(fault.path, fault.message) for fault in _faults(kind, written)}
    return [Fault(join(path, f.path), f.message, f.fix) for f in own if (f.path, f.message) not in elsewhere]


def _faults(kind: type[Section], raw: Mapping[str, Any]) -> list[Fault]:
    try:
        kind.model_validate(raw)
    except ValidationError as error:
        return faults_of(error)
    return []


def _mapping(raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = raw.get(key)
    return value if isinstance(value, Mapping) else {}
