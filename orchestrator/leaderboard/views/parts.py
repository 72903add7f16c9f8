"""Continuous axes on a board: the domain of each in equal parts, so that the points of different methods stand side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping

from search_spaces.domains import Domain, IntUniform, LogUniform, Range
from search_spaces.search import size_of
from search_spaces.trial import Scalar

PARTS = 8
"""Of a continuous axis."""
DIGITS = 2
"""Significant digits of the middle of a part, which names it."""

Values = tuple[Scalar | None, ...]


def axes_shown(domain: Mapping[str, Domain]) -> dict[str, Values]:
    """Return the axes of a search that vary, with the values under which its points are shown."""
    return {axis: _values(found) for axis, found in domain.items() if size_of(found) > 1}


def cell_shown(point: Mapping[str, Scalar | None], domain: Mapping[str, Domain]) -> dict[str, Scalar | None]:
    """Return the values under which a point is shown."""
    return {axis: _shown(value, domain[axis]) for axis, value in point.items()}


def _values(domain: Domain) -> Values:
    if not isinstance(domain, Range):
        return domain.values
    if _is_listed(domain):
        return tuple(range(int(domain.low), int(domain.high) + 1))
    return tuple(_middle(domain, part) for part in range(PARTS))


def _shown(value: Scalar | None, domain: Domain) -> Scalar | None:
    if not isinstance(domain, Range) or not isinstance(value, int | float):
        return value
    if _is_listed(domain):
        return int(value)
    return _middle(domain, min(int(domain.share(value) * PARTS), PARTS - 1))


def _is_listed(domain: Range) -> bool:
    return isinstance(domain, IntUniform) and size_of(domain) <= PARTS


def _middle(domain: Range, part: int) -> float:
    share = (part + 0.5) / PARTS
    if isinstance(domain, LogUniform):
        middle = math.exp(math.log(domain.low) + share * math.log(domain.high / domain.low))
    else:
        middle = domain.low + share * (domain.high - domain.low)
    return float(f"{middle:.{_digits(domain)}g}")


def _digits(domain: Range) -> int:
    """Return how many digits tell the middles apart."""
    if isinstance(domain, LogUniform):
        smallest_step = math.expm1(math.log(domain.high / domain.low) / PARTS)
    else:
        smallest_step = (domain.high - domain.low) / PARTS / max(abs(domain.low), abs(domain.high))
    return max(DIGITS, math.ceil(-math.log10(smallest_step)) + 1)
