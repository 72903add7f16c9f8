"""Domains: what one axis of a grid or a search may take. Each gives grid points, draws samples, and is written as in a sweep file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from search_spaces.trial import Scalar

Value = Scalar | None


@dataclass(frozen=True)
class Choice:
    """One of a finite list of values, in the order in which they were written."""

    values: tuple[Value, ...]

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError("a list of values needs at least one value")
        repeated = [v for i, v in enumerate(self.values) if v in self.values[:i]]
        if repeated:
            raise ValueError(f"{repeated[0]!r} is listed more than once")

    def points(self, count: int | None = None) -> tuple[Value, ...]:
        """Return all values, or the first `count`."""
        return self.values[:count]

    def sample(self, generator: Random) -> Value:
        """Draw one value, all equally likely."""
        return generator.choice(self.values)

    def __contains__(self, value: object) -> bool:
        return value in self.values

    def written(self) -> list[Value]:
        """Return the values as a sweep file lists them."""
        return list(self.values)


@dataclass(frozen=True)
class Uniform:
    """A real number between two bounds, both included."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high)

    def points(self, count: int) -> tuple[float, ...]:
        """Return `count` equally spaced values, the bounds among them (one value: the middle)."""
        return tuple(self.low + share * (self.high - self.low) for share in _shares(count))

    def sample(self, generator: Random) -> float:
        """Draw one value, uniformly."""
        return generator.uniform(self.low, self.high)

    def share(self, value: float) -> float:
        """Return where a value lies between the bounds on the domain's own scale: 0 at the lower one, 1 at the upper one."""
        return (value - self.low) / (self.high - self.low)

    def written(self) -> dict[str, list[float]]:
        """Return the domain as a sweep file writes it."""
        return {"uniform": [self.low, self.high]}

    def __contains__(self, value: object) -> bool:
        return _is_number(value) and self.low <= value <= self.high  # type: ignore[operator]


@dataclass(frozen=True)
class LogUniform:
    """A positive real number between two bounds, both included, whose logarithm is uniform."""

    low: float
    high: float

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high)
        if self.low <= 0:
            raise ValueError(f"the lower bound of a logarithmic domain must be above 0, not {self.low!r}")

    def points(self, count: int) -> tuple[float, ...]:
        """Return `count` values with equal ratios, the bounds among them (one value: the geometric mean)."""
        return tuple(self._at(share) for share in _shares(count))

    def sample(self, generator: Random) -> float:
        """Draw one value, uniformly in its logarithm."""
        return self._at(generator.random())

    def share(self, value: float) -> float:
        """Return where a value lies between the bounds on the domain's own scale: 0 at the lower one, 1 at the upper one."""
        return math.log(value / self.low) / math.log(self.high / self.low)

    def written(self) -> dict[str, list[float]]:
        """Return the domain as a sweep file writes it."""
        return {"log_uniform": [self.low, self.high]}

    def __contains__(self, value: object) -> bool:
        return _is_number(value) and self.low <= value <= self.high  # type: ignore[operator]

    def _at(self, share: float) -> float:
        # exp(log(x)) is not exactly x: the bounds are returned as written, and nothing leaves them.
        if share in (0.0, 1.0):
            return self.high if share else self.low
        log_low, log_high = math.log(self.low), math.log(self.high)
        return min(max(math.exp(log_low + share * (log_high - log_low)), self.low), self.high)


@dataclass(frozen=True)
class IntUniform:
    """An integer between two bounds, both included."""

    low: int
    high: int

    def __post_init__(self) -> None:
        _check_bounds(self.low, self.high)
        if not (_is_integer(self.low) and _is_integer(self.high)):
            raise ValueError(f"the bounds of an integer domain must be integers, not {self.low!r} and {self.high!r}")

    def points(self, count: int) -> tuple[int, ...]:
        """Return at most `count` equally spaced integers, the bounds among them, none twice."""
        return tuple(dict.fromkeys(round(self.low + share * (self.high - self.low)) for share in _shares(count)))

    def sample(self, generator: Random) -> int:
        """Draw one integer, all equally likely."""
        return generator.randint(self.low, self.high)

    def share(self, value: float) -> float:
        """Return where a value lies between the bounds on the domain's own scale: 0 at the lower one, 1 at the upper one."""
        return (value - self.low) / (self.high - self.low)

    def written(self) -> dict[str, list[float]]:
        """Return the domain as a sweep file writes it."""
        return {"int_uniform": [self.low, self.high]}

    def __contains__(self, value: object) -> bool:
        return _is_integer(value) and self.low <= value <= self.high  # type: ignore[operator]


Range = Uniform | LogUniform | IntUniform
"""A continuous domain; that of integers counts as one."""
Domain = Choice | Range

_RANGES: dict[str, type[Range]] = {
    "uniform": Uniform,
    "log_uniform": LogUniform,
    "int_uniform": IntUniform,
}


def domain_of(written: object) -> Domain:
    """Return the domain that a sweep file writes as `[values]` or as `{uniform | log_uniform | int_uniform: [low, high]}`.

    Raises:
        ValueError: it is neither, or its values or bounds are not valid.
    """
    if isinstance(written, Sequence) and not isinstance(written, str):
        return Choice(tuple(written))
    if isinstance(written, dict) and len(written) == 1:
        kind, bounds = next(iter(written.items()))
        if kind in _RANGES and isinstance(bounds, list) and len(bounds) == 2:
            return _RANGES[kind](*bounds)
    raise ValueError(f"{written!r} is not a list of values, such as [1.0e-4, 1.0e-3]")


def _check_bounds(low: float, high: float) -> None:
    if not (_is_number(low) and _is_number(high) and low < high):
        raise ValueError(f"the bounds must be two finite numbers in rising order, not {low!r} and {high!r}")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _shares(count: int) -> list[float]:
    if count < 1:
        raise ValueError(f"the number of points must be at least 1, not {count}")
    return [0.5] if count == 1 else [i / (count - 1) for i in range(count)]
