"""The spacing of an axis of numbers and the value that continues it; the bound that widens a continuous one."""

from __future__ import annotations

import itertools
import math
import statistics
from collections.abc import Sequence
from typing import Literal

from search_spaces.domains import IntUniform, LogUniform, Range
from search_spaces.grid import is_value, is_whole, limits

End = Literal["low", "high"]
DIGITS = 4
"""Significant digits of a new value."""
WIDENING = 0.25
"""Share of its width by which a continuous domain is widened at one end."""


def step_beyond(axis: str, values: Sequence[float], end: End) -> float:
    """Return the value that continues an axis beyond one of its ends.

    The spacing goes on, geometric where the values lie more evenly on a logarithmic scale than on a linear one; a pattern of two
    alternating steps, as in 1, 3, 10, 30, goes on as one. Where that leads out of what the axis can take, the step ends at the bound, or
    half-way to one that is no value itself.

    Args:
        axis: its name.
        values: at least three numbers, ascending, none of them at the bound beyond which the axis cannot go.
        end: where it goes on.
    """
    geometric = values[0] > 0 and _unevenness([math.log(value) for value in values]) <= _unevenness(values)
    scaled = [math.log(value) if geometric else value for value in values]
    towards = scaled if end == "high" else scaled[::-1]
    period = _period(towards)
    following = towards[-period] + towards[-1] - towards[-1 - period]
    # 0.1 less 0.1 may leave a rest in the last digit.
    following = 0.0 if abs(following) < 1e-9 * abs(scaled[-1] - scaled[0]) else following
    value = _rounded(math.exp(following) if geometric else following, is_whole(axis))
    last, limit = (values[-1], limits(axis)[1]) if end == "high" else (values[0], limits(axis)[0])
    if is_value(axis, value) and (value > last) == (end == "high") and value != last:
        return value
    bound = _rounded(limit, is_whole(axis)) if math.isfinite(limit) else limit
    return bound if is_value(axis, bound) else _rounded((last + limit) / 2, is_whole(axis))


def bound_beyond(axis: str, domain: Range, end: End) -> float:
    """Return the bound that widens a continuous domain at one of its ends by `WIDENING` of its width, on its own scale.

    Where that leads out of what the axis can take, the new bound is the axis's limit, or half-way to one that is no value itself.

    Args:
        axis: its name.
        domain: whose bound there is not the axis's limit.
        end: where it is widened.
    """
    whole = is_whole(axis) or isinstance(domain, IntUniform)
    last, limit = (domain.high, limits(axis)[1]) if end == "high" else (domain.low, limits(axis)[0])
    if isinstance(domain, LogUniform):
        factor = (domain.high / domain.low) ** WIDENING
        value = _rounded(last * factor if end == "high" else last / factor, whole)
    else:
        step = max((domain.high - domain.low) * WIDENING, 1 if whole else 0)
        value = _rounded(last + step if end == "high" else last - step, whole)
    if is_value(axis, value):
        return value
    return _rounded(limit, whole) if is_value(axis, _rounded(limit, whole)) else _rounded((last + limit) / 2, whole)


def _period(values: Sequence[float]) -> int:
    """Return after how many steps the spacing repeats at the end of an axis; 1 where it has no pattern."""
    steps = [after - before for before, after in itertools.pairwise(values[-4:])]
    if len(steps) == 2:
        # A step that is rounded, as in 1, 3, 10, is made up for by the next one.
        return 2 if math.isclose(*steps, rel_tol=0.15) else 1
    return 2 if math.isclose(steps[2] + steps[1], steps[1] + steps[0], rel_tol=0.02) else 1


def _unevenness(values: Sequence[float]) -> float:
    """Return the spread of the steps between values, relative to their mean."""
    steps = [after - before for before, after in itertools.pairwise(values)]
    return statistics.pstdev(steps) / statistics.fmean(steps)


def _rounded(value: float, whole: bool) -> float:
    return round(value) if whole else float(f"{value:.{DIGITS}g}")
