"""Ladders of capacity: the sizes that a method comes in, and which of them a parameter budget buys. Counts are handed in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from search_spaces.errors import CapacityError
from search_spaces.rungs import Rungs
from search_spaces.trial import Scalar

Match = Literal["below", "nearest"]


@dataclass(frozen=True)
class Size:
    """One size of a method on one model."""

    capacity: Mapping[str, Scalar]
    trainable: int
    """Trainable parameters at the peak of training, without the head."""

    def __str__(self) -> str:
        name = ", ".join(f"{key}={value}" for key, value in self.capacity.items())
        return f"{name or 'the method'} trains {self.trainable:,}"


@dataclass(frozen=True)
class Fit:
    """What a budget buys.

    Attributes:
        budget: trainable parameters.
        size: the size for this budget; where there is none, the one that comes nearest.
        larger: the next larger size; None where there is none.
        reason: why the budget is out of reach; empty where it is not.
    """

    budget: int
    size: Size
    larger: Size | None = None
    reason: str = ""

    @property
    def reached(self) -> bool:
        """Whether the ladder has a size for this budget."""
        return not self.reason

    @property
    def off(self) -> float:
        """How far the size is off the budget, relative to it: -0.1 is ten percent below."""
        return relative_distance(self.size.trainable, self.budget)

    @property
    def step(self) -> int | None:
        """Parameters that the next larger size costs more."""
        return None if self.larger is None else self.larger.trainable - self.size.trainable

    @property
    def words(self) -> str:
        """The fit in a sentence."""
        if self.reason:
            return self.reason
        step = "" if self.larger is None else f"; the next size, {self.larger}: {self.step:,} more"
        return f"{self.size}, {distance(self.size.trainable, self.budget)}{step}"


class Ladder:
    """The sizes of one method on one model, by its first capacity key.

    A method without capacity keys has one size, and so has one whose first key is given, or has a default, because it does not change
    the number of parameters.

    Args:
        keys: the method's capacity keys; none for a method of fixed size.
        count: trainable parameters at a capacity, at the peak of training and without the head; raises CapacityError.
        rest: values of the keys after the first, and of the first where it is given.
        default: value of the first key where it does not change the number of parameters; a model that does not take it gets the
            nearest valid value below.
    """

    def __init__(
        self,
        keys: Sequence[str],
        count: Callable[[Mapping[str, Scalar]], int],
        rest: Mapping[str, Scalar] | None = None,
        default: Scalar | None = None,
    ) -> None:
        self.keys = tuple(keys)
        self._count = count
        self._rest = dict(rest or {})
        self._default = default
        self.is_fixed = not self.keys or default is not None or self.keys[0] in self._rest
        self._rungs = None if self.is_fixed else Rungs(keys[0], lambda value: count(self._capacity(value)))

    @property
    def smallest(self) -> Size:
        """The smallest size.

        Raises:
            CapacityError: the first key takes no whole number.
        """
        size = self._around(-1)[1]
        assert size is not None
        return size

    def larger(self, size: Size) -> Size | None:
        """Return the next larger size; None where there is none."""
        return self._around(size.trainable)[1]

    def fit(self, budget: int, match: Match = "below", tolerance: float = 0.0) -> Fit:
        """Return what a budget buys: the largest size below it, or the nearest (of two as near, the smaller).

        Beyond either end of the ladder a budget is out of reach, unless the end is within the relative tolerance of it, and not
        above it where `below` is asked for. The one size of a method of fixed size is an end, too.

        Raises:
            CapacityError: the first key takes no whole number, or does not change the number of parameters.
        """
        if self._rungs is not None and self._rungs.constant:
            raise CapacityError(
                f"no budget can be solved for {self.keys[0]}: {self.smallest}, and so does every other value. "
                f"Fix: give {self.keys[0]} in a sweep without `budgets`, or declare a default of it in the method's capacity_defaults"
            )
        smaller, larger = self._around(budget)
        if smaller is None or larger is None:
            return self._at_the_end(smaller, larger, budget, match, tolerance)
        if match == "nearest" and larger.trainable - budget < budget - smaller.trainable:
            return Fit(budget, larger, self.larger(larger))
        return Fit(budget, smaller, larger)

    def _at_the_end(self, smaller: Size | None, larger: Size | None, budget: int, match: Match, tolerance: float) -> Fit:
        end = smaller or larger
        assert end is not None
        beyond = self.larger(end) if smaller is None else None
        off = relative_distance(end.trainable, budget)
        if off == 0 or (abs(off) <= tolerance and (off < 0 or match == "nearest")):
            return Fit(budget, end, beyond)
        if self.is_fixed:
            where = "cannot be matched: the size is fixed"
        else:
            where = f"is {'above the largest' if smaller is not None else 'below the smallest'} size"
        return Fit(budget, end, beyond, f"the budget of {budget:,} {where}; {end}, {distance(end.trainable, budget)}")

    def _around(self, trainable: int) -> tuple[Size | None, Size | None]:
        """Return the largest size of at most so many parameters, and the smallest of more."""
        if self._rungs is None:
            return (self._only, None) if self._only.trainable <= trainable else (None, self._only)
        smaller, larger = self._rungs.around(trainable)
        return self._size(smaller), self._size(larger)

    @cached_property
    def _only(self) -> Size:
        given = {**dict.fromkeys(self.keys[:1], self._default), **self._rest}
        capacity = {key: value for key in self.keys if (value := given.get(key)) is not None}
        try:
            return Size(capacity, self._count(capacity))
        except CapacityError as error:
            if (nearest := self._nearest_valid(error)) is None:
                raise
            capacity[self.keys[0]] = nearest
            return Size(capacity, self._count(capacity))

    def _nearest_valid(self, error: CapacityError) -> int | None:
        """Return the largest valid value below a default that the model does not take; None where the default is not to blame."""
        if not self.keys or self.keys[0] in self._rest or error.key != self.keys[0] or not isinstance(self._default, int):
            return None
        return max((value for value in error.valid or () if value < self._default), default=None)

    def _size(self, value: int | None) -> Size | None:
        return None if value is None or self._rungs is None else Size(self._capacity(value), self._rungs.trainable(value))

    def _capacity(self, value: int) -> dict[str, Scalar]:
        given = {self.keys[0]: value, **self._rest}
        return {key: given[key] for key in self.keys if key in given}


def relative_distance(trainable: int, budget: int) -> float:
    """Return how far a number of parameters is off a budget, relative to it."""
    return trainable / budget - 1


def distance(trainable: int, budget: int) -> str:
    """Write how far a number of parameters is off a budget."""
    off = relative_distance(trainable, budget)
    if off == 0:
        return f"exactly {budget:,}"
    if off >= 1:
        return f"{1 + off:,.{0 if off > 9 else 1}f} times {budget:,}"
    return f"{abs(off):.1%} {'above' if off > 0 else 'below'} {budget:,}"
