"""From cells and grid points to Trials."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, cached_property
from typing import Any

from orchestrator.cells import Capacity, Cell
from orchestrator.halving import bracket_of
from orchestrator.resolution import Resolution
from orchestrator.selection import Point
from orchestrator.study import start_points
from orchestrator.study_plan import study_plan
from orchestrator.variants import Variant
from search_spaces.domains import Value
from search_spaces.spec import SweepSpec
from search_spaces.trial import BASE, Checkpointing, MethodRef, ModelRef, Phase, Training, Trial

BASE_VERSION = "1"


class TrialFactory:
    """Makes the Trials of a sweep.

    Trials are built without validation, ten thousand in a second: whatever goes into them was validated in the sweep file.
    """

    def __init__(self, spec: SweepSpec, found: Resolution) -> None:
        self.spec = spec
        self.study = study_plan(spec)
        """How every cell's study runs; None for a grid."""
        self.points = spec.points() if self.study is None else start_points(self.study)
        """All points of a grid; of a search those that every study begins with."""
        self.bracket = bracket_of(spec.halving, self.points, spec.seeds.select)
        self._models = {model.id: model for model in found.models}
        self._tasks = found.tasks
        self._variants = {variant.label: variant for variant in found.variants}
        self._optimizers = _owners(found.variants)
        self._training = cache(self._make_training)
        self._section = cache(self._make_section)
        self._method = cache(self._make_method)

    @property
    def point_count(self) -> int:
        """Number of points that every cell is tried at."""
        return len(self.points) if self.study is None else self.study.trials

    @cached_property
    def known_points(self) -> frozenset[tuple[tuple[str, Value], ...]]:
        """The grid points as hashable values."""
        return frozenset(map(frozen_point, self.points))

    def select(self, cell: Cell) -> Iterator[Trial]:
        """Yield a cell's select trials that are known from the start: the whole grid, or a study's first points, on every select seed."""
        for point in self.points:
            yield from self.select_at(cell, point)

    def select_at(self, cell: Cell, point: Point) -> Iterator[Trial]:
        """Yield a cell's select trials at one point."""
        for seed in self.spec.seeds.select:
            yield self._make("select", cell, point, seed)

    def report(self, cell: Cell, point: Point) -> Iterator[Trial]:
        """Yield a cell's report trials: the selected point on every report seed.

        Raises:
            ValueError: the point is not in the grid, or not in the domain of the search.
        """
        if not self._can_be(point):
            raise ValueError(f"{dict(point)} is not a point of the grid, so {cell} cannot be reported at it")
        for seed in self.spec.seeds.report:
            yield self._make("report", cell, point, seed)

    def _can_be(self, point: Point) -> bool:
        return frozen_point(point) in self.known_points if self.study is None else self.study.holds(point)

    def base(self, model: ModelRef, task: str) -> Trial:
        """Return the trial of the untuned model: not a step of training, the test split read once."""
        section = self._tasks[task].training
        training = _training(section.model_dump(), {"learning_rate": 0.0, "epochs": None, "steps": 0})
        method = MethodRef(name=BASE, version=BASE_VERSION)
        return self._construct("report", Cell(model.id, task, BASE), {}, self.spec.seeds.report[0], training, method)

    def _make(self, phase: Phase, cell: Cell, point: Point, seed: int) -> Trial:
        training = self._training(cell.task, self._optimizers[cell.label], frozen_point(point))
        return self._construct(phase, cell, point, seed, training, self._method(cell.label, cell.capacity))

    def _construct(self, phase: Phase, cell: Cell, point: Point, seed: int, training: Training, method: MethodRef) -> Trial:
        return Trial.model_construct(
            phase=phase,
            label=cell.label,
            model=self._models[cell.model],
            task=cell.task,
            data=self._tasks[cell.task].data,
            method=method,
            targets=self.spec.roles(cell.model),
            head=self.spec.head,
            also_train=self.spec.also_train,
            training=training,
            point=dict(point),
            seed=seed,
            vary=self.spec.seeds.vary,
            bracket=self.bracket if phase == "select" else "",
        )

    def _make_training(self, task: str, owner: str, point: tuple[tuple[str, Value], ...]) -> Training:
        variant = self._variants[owner]
        optimizer = {"optimizer": variant.optimizer.name, "optimizer_settings": variant.optimizer_settings}
        return _training(self._section(task), {**optimizer, **dict(point)})

    def _make_section(self, task: str) -> dict[str, Any]:
        return self._tasks[task].training.model_dump()

    def _make_method(self, label: str, capacity: Capacity) -> MethodRef:
        variant = self._variants[label]
        return MethodRef(name=variant.card.name, version=variant.version, capacity=dict(capacity), settings=variant.settings)


def cells(found: Resolution) -> Iterator[Cell]:
    """Yield every cell of a sweep, those of one base model together."""
    for model, task, variant in itertools.product(found.models, found.tasks, found.variants):
        for capacity in found.ladders[model.id, variant.label]:
            yield Cell(model.id, task, variant.label, capacity)


def frozen_point(point: Point) -> tuple[tuple[str, Value], ...]:
    """Return a grid point as a hashable value."""
    return tuple(sorted(point.items()))


def _owners(variants: Iterable[Variant]) -> dict[str, str]:
    """Map each label to the first one with the same optimiser and settings: their trials share the values of a grid point."""
    first: dict[str, str] = {}
    return {v.label: first.setdefault(repr((v.optimizer.name, sorted(v.optimizer_settings.items()))), v.label) for v in variants}


def _training(section: Mapping[str, Any], values: Mapping[str, Any]) -> Training:
    filled = {**section, **values}
    return Training(**{**filled, "checkpoint": Checkpointing(**filled["checkpoint"])})
