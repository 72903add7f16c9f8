"""The grid: one for all methods. Its axes, their values, and the points that they span."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from search_spaces.domains import Choice, Value, domain_of
from search_spaces.errors import Fault, suggestion
from search_spaces.faults import Faults, faults_of, join
from search_spaces.sections import TrainingSection

Point = dict[str, Value]
"""One grid point: axis -> value."""
Grid = dict[str, tuple[Value, ...]]
"""Axis -> values, in the order of the file."""

DEFAULT_SCALE = (1.0,)
BUDGET_AXES = ("epochs", "steps")

_FIXED = {
    "micro_batch": "it changes memory, not what is trained",
    "optimizer": "an optimiser is a variant of a method: `methods: {label: {method: ..., optimizer: ...}}`",
    "max_length": "it changes what the model reads, which is the same for all trials of a sweep",
    "max_new_tokens": "it changes what is scored, which is the same for all trials of a sweep",
    "betas": "it is not a single number",
    "checkpoint": "it decides what is scored, which is the same for all trials of a sweep",
}


@cache
def axis_types() -> Mapping[str, TypeAdapter[Any]]:
    """Return what an axis may be called, and the type of its values."""
    positive = Annotated[float, Field(gt=0)]
    types: dict[str, Any] = {"learning_rate": positive, "head_learning_rate": positive | None, "scale": positive}
    for name, info in TrainingSection.model_fields.items():
        if name not in _FIXED:
            # In the file, no value of one budget means that the other holds; in the grid there is always a value.
            annotation = {"epochs": float, "steps": int}.get(name, info.annotation)
            types[name] = Annotated[annotation, Field(), *info.metadata]
    strict = ConfigDict(strict=True, allow_inf_nan=False)
    return {name: TypeAdapter(kind, config=strict) for name, kind in types.items()}


def read_grid(written: Any) -> Grid:
    """Return the grid as written, values in their axis's type, `scale` added where it is left out.

    Raises:
        Faults: an axis is unknown, empty, continuous, or has values that repeat or are out of range.
    """
    if not isinstance(written, Mapping):
        raise Faults([Fault("", f"{written!r} is not a mapping from axis to a list of values")])
    faults: list[Fault] = []
    grid: Grid = {}
    for axis, values in written.items():
        try:
            grid[str(axis)] = _read_axis(str(axis), values)
        except Faults as error:
            faults += error.faults
    if "learning_rate" not in written:
        faults.append(Fault("learning_rate", "is missing", "write `grid: {learning_rate: [1.0e-4, 1.0e-3]}`"))
    if faults:
        raise Faults(faults)
    return {**grid, "scale": grid.get("scale", DEFAULT_SCALE)}


@cache
def limits(axis: str) -> tuple[float, float]:
    """Return what bounds the values of an axis by its meaning, whether the bound is a value itself or not; infinite where nothing does."""
    low, high = -math.inf, math.inf
    for kind in _kinds(axis):
        low = kind.get("minimum", kind.get("exclusiveMinimum", low))
        high = kind.get("maximum", kind.get("exclusiveMaximum", high))
    return low, high


def is_whole(axis: str) -> bool:
    """Tell whether an axis takes whole numbers only."""
    return any(kind.get("type") == "integer" for kind in _kinds(axis))


def is_value(axis: str, value: Value) -> bool:
    """Tell whether an axis can take a value."""
    try:
        axis_types()[axis].validate_python(value)
    except (KeyError, ValidationError):
        return False
    return True


def points(grid: Mapping[str, tuple[Value, ...]]) -> Iterator[Point]:
    """Yield every combination of the axes' values; the last axis varies fastest."""
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def _kinds(axis: str) -> list[dict[str, Any]]:
    schema = axis_types()[axis].json_schema() if axis in axis_types() else {}
    return list(schema.get("anyOf", [schema]))


def _read_axis(axis: str, written: Any) -> tuple[Value, ...]:
    types = axis_types()
    if axis in _FIXED:
        raise Faults([Fault(axis, f"is not an axis of the grid: {_FIXED[axis]}. Valid: {', '.join(types)}.")])
    if axis not in types:
        near = "Did you mean 'learning_rate'?" if axis == "lr" else suggestion(axis, types)
        raise Faults([Fault(axis, f"unknown axis of the grid. {near}")])
    try:
        domain = domain_of(written)
    except ValueError as error:
        raise Faults([Fault(axis, str(error))]) from None
    if not isinstance(domain, Choice):
        raise Faults([Fault(axis, f"{written!r} is continuous, which the algorithm 'grid' cannot enumerate", "write a list of values")])
    faults: list[Fault] = []
    values: list[Value] = []
    for number, value in enumerate(domain.values):
        try:
            values.append(types[axis].validate_python(value))
        except ValidationError as error:
            faults += [Fault(join(axis, number), fault.message, fault.fix) for fault in faults_of(error)]
    if faults:
        raise Faults(faults)
    return tuple(values)
