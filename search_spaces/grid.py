"""The grid: one for all methods. Its axes, their values or domains, and the points that the values span."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Annotated, Any

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError

from search_spaces.domains import Choice, Domain, Range, Value, domain_of
from search_spaces.errors import Fault, suggestion
from search_spaces.faults import Faults, faults_of, join
from search_spaces.sections import TrainingSection

Point = dict[str, Value]
"""One grid point: axis -> value."""
Axis = tuple[Value, ...] | Range
"""The values of an axis, or the domain that a search draws them from."""
Grid = dict[str, Axis]
"""Axis -> values or domain, in the order of the file."""

DEFAULT_SCALE = (1.0,)
BUDGET_AXES = ("epochs", "steps")

_FIXED = {
    "micro_batch": "it changes memory, not what is trained",
    "optimizer": "an optimiser is a variant of a method: `methods: {label: {method: ..., optimizer: ...}}`",
    "max_length": "it changes what the model reads, which is the same for all trials of a sweep",
    "max_new_tokens": "it changes what is scored, which is the same for all trials of a sweep",
    "batches": "it decides which examples share a batch, which is the same for all trials of a sweep",
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
        Faults: an axis is unknown or empty, or has values or bounds that repeat, are out of range or of another type.
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


def written_grid(grid: Grid) -> dict[str, Any]:
    """Return a grid as a sweep file writes it."""
    return {axis: list(values) if isinstance(values, tuple) else values.written() for axis, values in grid.items()}


def domain(values: Axis) -> Domain:
    """Return the values of an axis as a domain."""
    return Choice(values) if isinstance(values, tuple) else values


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


def typed(axis: str, value: Value) -> Value:
    """Return a value that an axis can take in the axis's type."""
    found: Value = axis_types()[axis].validate_python(value)
    return found


def points(grid: Mapping[str, tuple[Value, ...]]) -> Iterator[Point]:
    """Yield every combination of the axes' values; the last axis varies fastest."""
    for values in itertools.product(*grid.values()):
        yield dict(zip(grid, values, strict=True))


def _kinds(axis: str) -> list[dict[str, Any]]:
    schema = axis_types()[axis].json_schema() if axis in axis_types() else {}
    return list(schema.get("anyOf", [schema]))


def _read_axis(axis: str, written: Any) -> Axis:
    types = axis_types()
    if axis in _FIXED:
        raise Faults([Fault(axis, f"is not an axis of the grid: {_FIXED[axis]}. Valid: {', '.join(types)}.")])
    if axis not in types:
        near = "Did you mean 'learning_rate'?" if axis == "lr" else suggestion(axis, types)
        raise Faults([Fault(axis, f"unknown axis of the grid. {near}")])
    try:
        found = written if isinstance(written, Range) else domain_of(written)
    except ValueError as error:
        raise Faults([Fault(axis, str(error))]) from None
    return _read_values(axis, found.values) if isinstance(found, Choice) else _read_range(axis, found)


def _read_values(axis: str, written: tuple[Value, ...]) -> tuple[Value, ...]:
    faults: list[Fault] = []
    values: list[Value] = []
    for number, value in enumerate(written):
        try:
            values.append(typed(axis, value))
        except ValidationError as error:
            faults += [Fault(join(axis, number), fault.message, fault.fix) for fault in faults_of(error)]
    if faults:
        raise Faults(faults)
    return tuple(values)


def _read_range(axis: str, found: Range) -> Range:
    """Return a continuous domain whose bounds the axis can take, and with them what lies between."""
    (kind, bounds), *_ = found.written().items()
    if not any(part.get("type") in ("number", "integer") for part in _kinds(axis)):
        raise Faults([Fault(axis, f"{kind} draws numbers, which the axis does not take", "write a list of values")])
    if is_whole(axis) and kind != "int_uniform":
        raise Faults([Fault(axis, f"{kind} draws fractions, and the axis takes whole numbers", "write `{int_uniform: [low, high]}`")])
    faults = []
    for number, bound in enumerate(bounds):
        try:
            typed(axis, bound)
        except ValidationError as error:
            faults += [Fault(join(axis, kind, number), fault.message, fault.fix) for fault in faults_of(error)[:1]]
    if faults:
        raise Faults(faults)
    return found
