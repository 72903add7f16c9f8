"""Looking up the names of a sweep file: which methods, tasks and models it means, and what each method trains."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from orchestrator.cells import Capacity, frozen_capacity, row_name
from search_spaces.errors import (
    CapacityError,
    DataError,
    FairsweepError,
    Fault,
    ModelError,
    NotApplicableError,
    UnknownNameError,
    suggestion,
)
from search_spaces.faults import join
from search_spaces.sections import TrainingSection
from search_spaces.spec import SweepSpec
from search_spaces.trial import DataRef, ModelRef, Scalar
from search_spaces.variants import MethodSection, Option
from trainers.api import Counts, MethodCard, Setting, TaskCard

Settings = dict[str, Option]


class Catalog(Protocol):
    """What is registered, and what it counts: all that a plan asks of the trainers."""

    def method(self, name: str) -> MethodCard:
        """Return a method's card, or raise UnknownNameError."""

    def method_version(self, name: str) -> str:
        """Return a hash of the code that implements a method."""

    def task(self, name: str) -> TaskCard:
        """Return a task's card, or raise UnknownNameError."""

    def model(self, ref: ModelRef) -> ModelRef:
        """Return the same base model with the digest of its weights, or raise UnknownNameError or ModelError."""

    def data(self, task: str, source: str, *, train: int, selection: int, test: int, seed: int) -> DataRef:
        """Return a task's data with the digest of its rows, or raise DataError."""

    def count(
        self,
        model: ModelRef,
        method: str,
        capacity: Mapping[str, Scalar],
        settings: Mapping[str, Any],
        targets: Sequence[str],
        also_train: Sequence[str],
    ) -> Counts:
        """Count parameters; raise CapacityError, NotApplicableError, or UnknownNameError for a role that the model lacks."""


@dataclass(frozen=True)
class ResolvedTask:
    """A task with its data and its training hyper-parameters."""

    card: TaskCard
    data: DataRef
    training: TrainingSection


@dataclass(frozen=True)
class Variant:
    """A label, resolved."""

    label: str
    card: MethodCard
    version: str
    settings: Settings
    """Structural settings that differ from the method's defaults."""
    optimizer: str
    capacities: tuple[Capacity, ...]

    @property
    def defaults(self) -> Settings:
        """The method's default settings."""
        return {key: setting.default for key, setting in self.card.settings.items()}


@dataclass(frozen=True)
class Refusal:
    """A cell that a method's definition does not cover."""

    label: str
    capacity: dict[str, Scalar]
    model: str
    task: str
    reason: str


CountKey = tuple[str, str, Capacity]
"""Model, label, capacity."""


@dataclass
class Resolution:
    """What the names of a sweep file stand for, and the faults that were met on the way."""

    models: list[ModelRef] = field(default_factory=list)
    tasks: dict[str, ResolvedTask] = field(default_factory=dict)
    variants: list[Variant] = field(default_factory=list)
    counts: dict[CountKey, Counts] = field(default_factory=dict)
    not_applicable: dict[CountKey, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def fault(self, path: str, error: FairsweepError | str) -> None:
        """Note a fault, once."""
        fault = Fault(path, str(error))
        if fault not in self.faults:
            self.faults.append(fault)


def resolve(spec: SweepSpec, catalog: Catalog) -> Resolution:
    """Look up every name of a sweep, and count what each method trains on each model; faults are collected, not raised."""
    found = Resolution()
    _resolve_models(spec, catalog, found)
    _resolve_tasks(spec, catalog, found)
    for label, section in spec.methods.items():
        variant = _variant(label, section, spec, catalog, found)
        if variant is not None:
            found.variants.append(variant)
    _refuse_doubles(found)
    for model, variant in itertools.product(found.models, found.variants):
        for capacity in variant.capacities:
            _count(model, variant, capacity, spec, catalog, found)
    return found


def _resolve_models(spec: SweepSpec, catalog: Catalog, found: Resolution) -> None:
    weights: dict[tuple[str, str], str] = {}
    for section in spec.models:
        try:
            model = catalog.model(section.ref)
        except (UnknownNameError, ModelError) as error:
            found.fault("models", error)
            continue
        twin = weights.setdefault((model.digest or model.id, model.dtype), model.id)
        if twin != model.id:
            found.fault("models", f"{model.id!r} and {twin!r} are the same model")
        found.models.append(model)


def _resolve_tasks(spec: SweepSpec, catalog: Catalog, found: Resolution) -> None:
    for name in spec.tasks:
        try:
            card = catalog.task(name)
        except UnknownNameError as error:
            found.fault("tasks", error)
            continue
        section = spec.data_of(name)
        caps = section.model_dump(exclude={"source"})
        try:
            data = catalog.data(name, section.source, **caps)
        except DataError as error:
            found.fault(f"tasks.{name}" if "source" in spec.tasks[name].data else "data.source", error)
            continue
        found.tasks[name] = ResolvedTask(card, data, spec.training_of(name))


def _variant(label: str, section: MethodSection, spec: SweepSpec, catalog: Catalog, found: Resolution) -> Variant | None:
    path = f"methods.{label}"
    name = section.method or label
    try:
        card = catalog.method(name)
    except UnknownNameError as error:
        found.fault(join(path, "method" if section.method else ""), error)
        return None
    ladders: dict[str, list[Scalar]] = {}
    settings: Settings = {}
    for key, value in section.options.items():
        if key in card.capacity:
            if value is None:
                found.fault(join(path, key), f"null is not a capacity of {name}")
            else:
                ladders[key] = value if isinstance(value, list) else [value]
        elif key in card.settings:
            if message := _setting_fault(card.settings[key], value):
                found.fault(join(path, key), message)
            elif value != card.settings[key].default:
                settings[key] = value
        else:
            valid = (*card.capacity, *card.settings, "method", "optimizer")
            found.fault(join(path, key), f"{name} has no key {key!r}. {suggestion(key, valid)}")
    if card.capacity and not ladders:
        if not any(key in section.options for key in card.capacity):
            what = f"is missing; the capacity of {name} is given by {' or '.join(card.capacity)}"
            found.fault(join(path, card.capacity[0]), f"{what}, such as `{card.capacity[0]}: [8]`")
        return None
    keys = [key for key in card.capacity if key in ladders]
    products = itertools.product(*(ladders[key] for key in keys))
    capacities = tuple(frozen_capacity(dict(zip(keys, values, strict=True))) for values in products)
    optimizer = section.optimizer or spec.training.optimizer
    return Variant(label, card, catalog.method_version(name), settings, optimizer, capacities)


def _setting_fault(setting: Setting, value: Option) -> str:
    """Return what is wrong with a setting's value, or nothing."""
    if setting.choices:
        return "" if value in setting.choices else f"{value!r} is not valid. Valid: {', '.join(map(repr, setting.choices))}."
    default = setting.default
    number = isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool)
    if default is None or number or type(value) is type(default):
        return ""
    return f"{value!r} is not valid: it should be of the kind of the default, {default!r}"


def _refuse_doubles(found: Resolution) -> None:
    """Refuse a cell that stands under two labels: its trials would be one and the same."""
    owners: dict[str, str] = {}
    for variant in found.variants:
        for capacity in variant.capacities:
            content = repr((variant.card.name, sorted(variant.settings.items()), variant.optimizer, capacity))
            owner = owners.setdefault(content, variant.label)
            if owner != variant.label:
                found.fault(
                    f"methods.{variant.label}",
                    f"{row_name(variant.label, dict(capacity))} is the same as {owner!r} there; keep one",
                )


def _count(model: ModelRef, variant: Variant, capacity: Capacity, spec: SweepSpec, catalog: Catalog, found: Resolution) -> None:
    key = (model.id, variant.label, capacity)
    roles = spec.roles(model.id)
    try:
        found.counts[key] = catalog.count(model, variant.card.name, dict(capacity), variant.settings, roles, spec.also_train)
    except NotApplicableError as error:
        found.not_applicable[key] = str(error)
    except CapacityError as error:
        where = ", ".join(f"{name}={value}" for name, value in capacity)
        found.fault(_blamed(variant, capacity, str(error)), f"{where + ' on ' if where else ''}{model.id}: {error}")
    except UnknownNameError as error:
        found.fault(f"targets.{model.id}" if isinstance(spec.targets, dict) else "targets", error)


def _blamed(variant: Variant, capacity: Capacity, message: str) -> str:
    """Return the path of the key that an error speaks of: the one that it names, or the only one there is."""
    keys = [*dict(capacity), *variant.settings]
    named = [key for key in keys if re.search(rf"\b{re.escape(key)}\b", message)]
    only = named if len(named) == 1 else [key for key, _ in capacity]
    return join("methods", variant.label, only[0] if len(only) == 1 else "")


def refusals(found: Resolution) -> Iterator[Refusal]:
    """Yield the cells that methods do not cover."""
    for (model, label, capacity), reason in found.not_applicable.items():
        for task in found.tasks:
            yield Refusal(label, dict(capacity), model, task, reason)
