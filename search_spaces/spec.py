"""SweepSpec: what a user writes, validated and frozen."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainSerializer, TypeAdapter, ValidationError

from search_spaces.budgets import BudgetsSection
from search_spaces.compute import ComputeSection, compute_faults
from search_spaces.consistency import budget_faults, extension_faults, merged, model_faults, override_faults, worker_faults
from search_spaces.errors import Fault
from search_spaces.faults import Faults, Section, join
from search_spaces.grid import Grid, Point, points, read_grid, written_grid
from search_spaces.halving import HalvingSection, halving_faults
from search_spaces.packing import Packing, packing_faults
from search_spaces.published import PublishedSection
from search_spaces.search import SearchSection, search_faults
from search_spaces.sections import (
    EXTRAS,
    DataSection,
    DeepSpeedSection,
    Extra,
    ModelSection,
    ResourcesSection,
    SeedsSection,
    TrainingSection,
    Tuple,
    in_order,
)
from search_spaces.targets import Roles, read_targets
from search_spaces.trial import BASE
from search_spaces.variants import MethodSection, label_faults


class TaskSection(Section):
    """What one task overrides of `data` and `training`."""

    data: dict[str, Any] = Field(default_factory=dict)
    training: dict[str, Any] = Field(default_factory=dict)


def _read_models(written: Any) -> Any:
    return tuple({"id": model} if isinstance(model, str) else model for model in written) if isinstance(written, list) else written


def _read_tasks(written: Any) -> Any:
    """Write a list of names out as a mapping without overrides."""
    if isinstance(written, list):
        faults = [Fault(str(i), f"{task!r} is not a task's name") for i, task in enumerate(written) if not isinstance(task, str)]
        faults += [Fault(str(i), f"{task!r} is listed more than once") for i, task in enumerate(written) if task in written[:i]]
        if faults:
            raise Faults(faults)
        written = dict.fromkeys(written)
    return {name: section or {} for name, section in written.items()} if isinstance(written, Mapping) else written


def _read_methods(written: Any) -> Any:
    """Write labels without keys out, and leave out the untuned model, which is on every board anyway."""
    return {label: section or {} for label, section in written.items() if label != BASE} if isinstance(written, Mapping) else written


def sweep_name(written: str) -> str:
    """Return a sweep's name.

    Raises:
        ValueError: it is not one.
    """
    if not re.fullmatch(r"[a-z0-9-]+", written):
        raise ValueError(f"{written!r} is not a sweep's name: use lower-case letters, digits and hyphens")
    return written


class SweepSpec(Section):
    """A sweep file. Every section has its defaults, except models, tasks, methods, the learning rates and the budget."""

    name: Annotated[str, AfterValidator(sweep_name)]
    """The MLflow experiment is `fairsweep/<name>`."""
    models: Annotated[tuple[ModelSection, ...], BeforeValidator(_read_models), Field(min_length=1)]
    tasks: Annotated[dict[str, TaskSection], BeforeValidator(_read_tasks), Field(min_length=1)]
    data: DataSection = DataSection()
    methods: Annotated[dict[str, MethodSection], BeforeValidator(_read_methods)]
    targets: Annotated[Roles | dict[str, Roles], BeforeValidator(read_targets)] = ("q", "v")
    """Roles of the adapted matrices, or a mapping from model to roles."""
    head: Literal["default"] = "default"
    also_train: Annotated[tuple[Extra, ...], Tuple, in_order(EXTRAS)] = ()
    """Trained besides the adapter, by every method."""
    budgets: BudgetsSection | None = None
    """Parameter budgets that the first capacity key of every method is solved for; None takes the capacities under `methods`."""
    grid: Annotated[Grid, BeforeValidator(read_grid), PlainSerializer(written_grid)]
    """The axes that all methods share: a list of values each or, for a search, a continuous domain."""
    training: TrainingSection = TrainingSection()
    search: SearchSection = SearchSection()
    halving: HalvingSection | None = None
    """Gives up the worse points of a cell at rungs, the same for every method; None trains every point to the end."""
    seeds: SeedsSection = SeedsSection()
    resources: ResourcesSection = ResourcesSection()
    packing: Packing = "off"
    """How many trials may train at once in one process."""
    deepspeed: DeepSpeedSection = DeepSpeedSection()
    compute: ComputeSection = ComputeSection()
    """Kernels and memory; no part of a trial's id."""
    published: PublishedSection | None = None
    """What the literature reports for rows of this sweep."""

    aliases: ClassVar[tuple[str, ...]] = ("model", "smoke")
    misplaced: ClassVar[Mapping[str, str]] = {
        **{key: f"write it under `training`: `training: {{{key}: ...}}`" for key in TrainingSection.model_fields},
        **{key: f"write `grid: {{{key}: [...]}}`" for key in ("learning_rate", "head_learning_rate", "scale")},
        **{key: f"write `resources: {{{key}: ...}}`" for key in ResourcesSection.model_fields},
    }

    @classmethod
    def rewritten(cls, raw: Mapping[str, Any]) -> Mapping[str, Any]:
        """Write `model: x` out as a list of one, and leave out sections that are empty, and `smoke`."""
        result = {key: value for key, value in raw.items() if value is not None or key not in cls.model_fields}
        if "model" in result and "models" not in result:
            result["models"] = [result["model"]]
        result.pop("model", None)
        # Whoever reads the file has applied this section by now, or has not been asked to.
        result.pop("smoke", None)
        return result

    @classmethod
    def cross_faults(cls, raw: Mapping[str, Any]) -> Iterable[Fault]:
        """Faults between sections."""
        if "model" in raw and "models" in raw:
            yield Fault("model", "`model` and `models` are both given", "keep one of them")
        if isinstance(methods := raw.get("methods"), Mapping):
            yield from (Fault(join("methods", fault.path), fault.message, fault.fix) for fault in label_faults(methods))
        yield from model_faults(raw)
        yield from budget_faults(raw)
        yield from extension_faults(raw)
        yield from search_faults(raw)
        yield from worker_faults(raw)
        yield from packing_faults(raw)
        yield from compute_faults(raw)
        yield from override_faults(raw)
        yield from halving_faults(raw)

    @classmethod
    def outline(cls, raw: Mapping[str, Any]) -> SweepSpec:
        """Return the valid sections of a faulty file, so that their names can be checked; the others are empty or defaults."""
        values: dict[str, Any] = {"name": "", "models": (), "tasks": {}, "methods": {}, "grid": {}}
        written = cls.rewritten(raw)
        for name, info in cls.model_fields.items():
            if name in written:
                with contextlib.suppress(ValidationError):
                    kind: Any = Annotated[info.annotation, Field(), *info.metadata]
                    values[name] = TypeAdapter(kind).validate_python(written[name])
        return cls.model_construct(**values)

    def points(self) -> tuple[Point, ...]:
        """The grid points, the same for every method, the last axis varying fastest; none where a search asks for them."""
        if self.search.algorithm != "grid":
            return ()
        return tuple(points({axis: values for axis, values in self.grid.items() if isinstance(values, tuple)}))

    def roles(self, model: str) -> Roles:
        """The roles that are adapted in one model."""
        return self.targets[model] if isinstance(self.targets, dict) else self.targets

    def data_of(self, task: str) -> DataSection:
        """The data section with one task's overrides."""
        return DataSection.model_validate(merged(self.data.model_dump(), self.tasks[task].data))

    def training_of(self, task: str) -> TrainingSection:
        """The training section with one task's overrides."""
        return TrainingSection.model_validate(merged(self.training.model_dump(mode="json"), self.tasks[task].training))
