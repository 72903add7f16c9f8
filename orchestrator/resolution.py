"""Looking up the names of a sweep file: which methods, optimisers, tasks and models it means, and what each method trains."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from orchestrator.budgets import solve
from orchestrator.cells import Capacity, Cell, frozen_capacity, row_name
from orchestrator.packing import method_faults
from orchestrator.protocol import Catalog
from orchestrator.published import metric_faults
from orchestrator.variants import Variant, read_options
from search_spaces.capacity import Fit
from search_spaces.errors import (
    CapacityError,
    DataError,
    FairsweepError,
    Fault,
    ModelError,
    NotApplicableError,
    UnknownNameError,
)
from search_spaces.faults import join
from search_spaces.sections import DEFAULT_OPTIMIZER, TrainingSection
from search_spaces.spec import SweepSpec
from search_spaces.trial import DataRef, ModelRef, Scalar
from trainers.api import Form, OptimizerCard, TaskCard, group_refusal
from trainers.results import Counts


@dataclass(frozen=True)
class ResolvedTask:
    """A task with its data and its training hyper-parameters."""

    card: TaskCard
    data: DataRef
    training: TrainingSection


@dataclass(frozen=True)
class Refusal:
    """A cell that a method's definition does not cover."""

    label: str
    capacity: dict[str, Scalar]
    model: str
    task: str
    reason: str

    @property
    def cell(self) -> Cell:
        """The cell that is refused."""
        return Cell(self.model, self.task, self.label, frozen_capacity(self.capacity))


CountKey = tuple[str, str, Capacity]
"""Model, label, capacity."""


@dataclass
class Resolution:
    """What the names of a sweep file stand for, and the faults that were met on the way."""

    workers: int = 1
    zero_stage: int = 0
    models: list[ModelRef] = field(default_factory=list)
    tasks: dict[str, ResolvedTask] = field(default_factory=dict)
    variants: list[Variant] = field(default_factory=list)
    ladders: dict[tuple[str, str], tuple[Capacity, ...]] = field(default_factory=dict)
    """The capacities of a label on a model: (model, label) -> capacities."""
    fits: dict[CountKey, tuple[Fit, ...]] = field(default_factory=dict)
    """The budgets that a capacity was solved for."""
    forms: dict[tuple[str, str], Form] = field(default_factory=dict)
    """How a model does a task, as far as it can: (model, task) -> form."""
    unfit: dict[tuple[str, str], str] = field(default_factory=dict)
    """Why a model cannot do a task."""
    counts: dict[CountKey, Counts] = field(default_factory=dict)
    """Trainable parameters, with the head of the model's first task."""
    heads: dict[Cell, Counts] = field(default_factory=dict)
    """The same for every cell that runs, with the head of its own task."""
    roles: dict[CountKey, tuple[str, ...]] = field(default_factory=dict)
    """The roles that are adapted, which the method may choose by definition."""
    text_positions: dict[CountKey, int | None] = field(default_factory=dict)
    """Positions that a method's virtual tokens leave for text; None where they set no limit."""
    not_applicable: dict[CountKey, str] = field(default_factory=dict)
    faults: list[Fault] = field(default_factory=list)

    def fault(self, path: str, error: FairsweepError | str) -> None:
        """Note a fault, once."""
        fault = Fault(path, str(error))
        if fault not in self.faults:
            self.faults.append(fault)


def resolve(spec: SweepSpec, catalog: Catalog) -> Resolution:
    """Look up every name of a sweep, and count what each method trains on each model; faults are collected, not raised."""
    found = Resolution(spec.resources.workers, spec.deepspeed.zero_stage)
    _resolve_models(spec, catalog, found)
    _resolve_tasks(spec, catalog, found)
    if spec.published is not None:
        found.faults += metric_faults(spec.published, {name: task.card for name, task in found.tasks.items()})
    _resolve_forms(catalog, found)
    _refuse_unread_head_rate(spec, found)
    _resolve_methods(spec, catalog, found)
    _refuse_doubles(found)
    found.faults += method_faults(spec, found.variants)
    for model, variant in itertools.product(found.models, found.variants):
        _size(model, variant, spec, catalog, found)
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


def _resolve_forms(catalog: Catalog, found: Resolution) -> None:
    """Find out which models can do which tasks; every model must do one at least, and every task be done by one."""
    for model in found.models:
        has_head = catalog.has_head(model)
        for name, task in found.tasks.items():
            try:
                found.forms[model.id, name] = task.card.form_on(has_head=has_head)
            except NotApplicableError as error:
                found.unfit[model.id, name] = str(error)
    able, done = ({pair[side] for pair in found.forms} for side in (0, 1))
    for (model_id, name), reason in found.unfit.items():
        if name not in done:
            found.fault("tasks", reason)
        elif model_id not in able:
            found.fault("models", f"{model_id!r} can do none of the tasks: {reason}")


def _refuse_unread_head_rate(spec: SweepSpec, found: Resolution) -> None:
    """Refuse an axis that doubles the trials of a model without a classification head, and changes nothing in them."""
    axis = "head_learning_rate"
    headless = dict.fromkeys(model for (model, _), form in found.forms.items() if form != "label")
    values = spec.grid.get(axis, ())
    if headless and (not isinstance(values, tuple) or len(values) > 1):
        waste = (
            f"every point would be trained {len(values)} times" if isinstance(values, tuple) else "the search would vary what nothing reads"
        )
        found.fault(
            join("grid", axis),
            f"{', '.join(headless)} has no classification head, so that {waste}. "
            "Fix: remove the axis, or give the models that have a head a sweep of their own",
        )


def _optimizer(path: str, name: str, catalog: Catalog, found: Resolution) -> OptimizerCard | None:
    try:
        return catalog.optimizer(name)
    except UnknownNameError as error:
        found.fault(path, error)
        return None


def _resolve_methods(spec: SweepSpec, catalog: Catalog, found: Resolution) -> None:
    common = _optimizer("training.optimizer", spec.training.optimizer, catalog, found)
    for label, section in spec.methods.items():
        name = section.method or label
        optimizer = common
        if section.optimizer is not None:
            optimizer = _optimizer(join("methods", label, "optimizer"), section.optimizer, catalog, found)
        try:
            card = catalog.method(name)
        except UnknownNameError as error:
            found.fault(join("methods", label, "method" if section.method else ""), error)
            continue
        if optimizer is None:
            continue
        capacities, settings, faults = read_options(card, optimizer, section.options, by_budgets=spec.budgets is not None)
        for fault in faults:
            found.fault(join("methods", label, fault.path), fault.message)
        own = {key: value for key, value in settings.items() if key in card.settings}
        others = {key: value for key, value in settings.items() if key not in card.settings}
        found.variants.append(Variant(label, card, _version(name, optimizer, catalog), own, optimizer, others, capacities))


def _version(method: str, optimizer: OptimizerCard, catalog: Catalog) -> str:
    """Return the version of a method's code, and of its optimiser's.

    The default optimiser belongs to the shared code, whose changes raise the trial format: its trials keep their ids.
    """
    version = catalog.method_version(method)
    return version if optimizer.name == DEFAULT_OPTIMIZER else f"{version}+{catalog.optimizer_version(optimizer.name)}"


def _refuse_doubles(found: Resolution) -> None:
    """Refuse a cell that stands under two labels: its trials would be one and the same."""
    owners: dict[str, str] = {}
    for variant in found.variants:
        for capacity in variant.capacities:
            settings = sorted(variant.settings.items()), sorted(variant.optimizer_settings.items())
            content = repr((variant.card.name, settings, variant.optimizer.name, capacity))
            owner = owners.setdefault(content, variant.label)
            if owner != variant.label:
                found.fault(
                    f"methods.{variant.label}",
                    f"{row_name(variant.label, dict(capacity))} is the same as {owner!r} there; keep one",
                )


def _size(model: ModelRef, variant: Variant, spec: SweepSpec, catalog: Catalog, found: Resolution) -> None:
    """Count a label on a model at its capacities, or at those that the budgets come to."""
    heads = _head_sizes(model.id, found)
    first = next(iter(heads.values()), None)

    def count(capacity: Mapping[str, Scalar], num_labels: int | None = first) -> Counts:
        roles = spec.roles(model.id)
        counted = catalog.count(model, variant.card.name, capacity, variant.settings, roles, spec.also_train, num_labels)
        key = model.id, variant.label, frozen_capacity(capacity)
        found.roles[key], found.text_positions[key] = counted.roles, counted.text_positions
        return counted.counts

    ladder: list[Capacity] = []
    for capacity in variant.capacities:
        with _noted(model, variant, capacity, spec, found):
            if spec.budgets is None:
                ladder.append(capacity)
                found.counts[model.id, variant.label, capacity] = count(dict(capacity))
            else:
                solved = solve(variant.card, capacity, spec.budgets, count)
                ladder += solved.fits
                found.fits.update({(model.id, variant.label, key): fits for key, fits in solved.fits.items()})
                found.counts.update({(model.id, variant.label, key): counts for key, counts in solved.counts.items()})
                found.not_applicable.update({(model.id, variant.label, key): reason for key, reason in solved.refused.items()})
    found.ladders[model.id, variant.label] = tuple(ladder)
    for capacity in ladder:
        if known := found.counts.get((model.id, variant.label, capacity)):
            sized = {size: known if size == first else count(dict(capacity), size) for size in set(heads.values())}
            cells = {Cell(model.id, name, variant.label, capacity): sized[size] for name, size in heads.items()}
            found.heads |= {cell: counts for cell, counts in cells.items() if not _refusal(cell, variant, found)}


def _head_sizes(model: str, found: Resolution) -> dict[str, int | None]:
    """Return the outputs of the classification head by task, for the tasks that a model can do; None where it has no head."""
    forms = {name: found.forms[model, name] for name in found.tasks if (model, name) in found.forms}
    return {name: found.tasks[name].card.num_labels if form == "label" else None for name, form in forms.items()}


def _refusal(cell: Cell, variant: Variant, found: Resolution) -> str:
    """Return why a label cannot be run on a task with a model at a capacity that it has there, or nothing."""
    if reason := found.unfit.get((cell.model, cell.task)):
        return reason
    task, left = found.tasks[cell.task], found.text_positions.get((cell.model, cell.label, cell.capacity))
    if left is not None and task.training.max_length > left:
        fix = f"Fix: fewer virtual tokens, or training.max_length: {left}"
        return f"its virtual tokens leave {left:,} of the model's positions for texts of max_length {task.training.max_length:,}. {fix}"
    form, num_labels = found.forms[cell.model, cell.task], task.card.num_labels
    reason = variant.optimizer.refusal(form, num_labels, variant.optimizer_settings, penalised=variant.card.penalised)
    return reason or group_refusal(variant.card, variant.optimizer, found.workers, found.zero_stage)


@contextmanager
def _noted(model: ModelRef, variant: Variant, capacity: Capacity, spec: SweepSpec, found: Resolution) -> Iterator[None]:
    """Note why a capacity cannot be counted: as a refused cell, or as a fault of the file."""
    try:
        yield
    except NotApplicableError as error:
        found.not_applicable[model.id, variant.label, capacity] = str(error)
    except CapacityError as error:
        where = ", ".join(f"{name}={value}" for name, value in capacity)
        found.fault(_blamed(variant, capacity, error), f"{where + ' on ' if where else ''}{model.id}: {error}")
    except UnknownNameError as error:
        found.fault(f"targets.{model.id}" if isinstance(spec.targets, dict) else "targets", error)


def _blamed(variant: Variant, capacity: Capacity, error: CapacityError) -> str:
    """Return the path of the key that an error speaks of: the one that it names, or the only one there is."""
    keys = [*dict(capacity), *variant.settings]
    named = [key for key in keys if key == error.key or re.search(rf"\b{re.escape(key)}\b", str(error))]
    only = named if len(named) == 1 else [key for key, _ in capacity]
    return join("methods", variant.label, only[0] if len(only) == 1 else "")


def refusals(found: Resolution) -> Iterator[Refusal]:
    """Yield the cells that methods, optimisers or tasks do not cover."""
    for (model, label, capacity), reason in found.not_applicable.items():
        for task in found.tasks:
            yield Refusal(label, dict(capacity), model, task, reason)
    variants = {variant.label: variant for variant in found.variants}
    for model, label, capacity in found.counts:
        for task in found.tasks:
            if reason := _refusal(Cell(model, task, label, capacity), variants[label], found):
                yield Refusal(label, dict(capacity), model, task, reason)
