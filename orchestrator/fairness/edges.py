"""Selected points on the edge of the grid or the domain: there it, not the method, may have ended the search."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from orchestrator.cells import Cell
from orchestrator.selection import Point, Result, Selection
from orchestrator.variants import METHOD_AXES, OPTIMIZER_AXES
from search_spaces.domains import Choice, Domain, Range
from search_spaces.grid import limits
from search_spaces.spacing import End

LEAST_VALUES = 3
"""An axis of fewer values has no inside."""
EDGE_SHARE = 0.05
"""Share of a continuous domain's width, on the domain's own scale, within which a point is on the edge."""
NO_DOMAIN: Mapping[str, Domain] = MappingProxyType({})
"""Of a grid, whose points say all."""


@dataclass(frozen=True)
class Edge:
    """An end of an ordered axis on which a selected point lies."""

    axis: str
    end: End
    value: float
    values: tuple[float, ...]
    """All values of the axis, ascending; of a continuous one its bounds."""
    domain: Range | None = None
    """The domain of a continuous axis."""

    def to_json(self) -> dict[str, Any]:
        """Return the edge as JSON documents show it."""
        found = {"axis": self.axis, "end": self.end, "value": self.value, "values": list(self.values)}
        return found if self.domain is None else {**found, "domain": self.domain.written()}

    def __str__(self) -> str:
        if self.domain is not None:
            bound, name = (self.values[0], "lower") if self.end == "low" else (self.values[-1], "upper")
            return f"{self.axis}={self.value:g}, within {EDGE_SHARE:.0%} of the domain's width of its {name} bound {bound:g}"
        return f"{self.axis}={self.value:g}, the {'lowest' if self.end == 'low' else 'highest'} of {len(self.values)} values"


def edges_of(
    selection: Selection, points: Sequence[Point], reads: Iterable[str], domain: Mapping[str, Domain] = NO_DOMAIN
) -> tuple[Edge, ...]:
    """Return the edges that a cell's selected point lies on.

    A value that the axis cannot go beyond, such as a dropout of 0, is no edge; nor is one that an inner value equals in score and loss,
    so that only the smaller learning rate or the grid's order decided; nor are those of an axis that the method does not read.
    On a continuous axis a point is on the edge within `EDGE_SHARE` of a bound.

    Args:
        selection: of the cell.
        points: its grid points.
        reads: hyper-parameters that its method and optimiser read, out of those that they may leave unread.
        domain: of a search; without one the points say what the axes' values are.
    """
    # Without a score nothing but the learning rate was chosen; what the grid's order alone decided is no edge.
    best = selection.equal if selection.score is not None else selection.tied
    return tuple(edge for axis in read_axes(points, reads) for edge in _edges_on(axis, points, domain.get(axis), best))


def edges_by_cell(
    selected: Mapping[Cell, Selection],
    points: Sequence[Point],
    reads: Mapping[str, Iterable[str]],
    domain: Mapping[str, Domain] = NO_DOMAIN,
) -> dict[Cell, tuple[Edge, ...]]:
    """Return the cells whose selected point lies on an edge of the grid, with these edges.

    Args:
        points: of the grid.
        reads: label -> hyper-parameters that its method and optimiser read, out of those that they may leave unread.
        domain: of a search.
    """
    found = {cell: edges_of(selection, points, reads.get(cell.label, ()), domain) for cell, selection in selected.items()}
    return {cell: edges for cell, edges in found.items() if edges}


def read_axes(points: Iterable[Point], reads: Iterable[str]) -> list[str]:
    """Return the axes of a grid that a method reads."""
    unread = {*METHOD_AXES, *OPTIMIZER_AXES} - set(reads)
    return [axis for axis in dict.fromkeys(axis for point in points for axis in point) if axis not in unread]


def ordered_values(points: Iterable[Point], axis: str) -> tuple[float, ...]:
    """Return the distinct values of an axis of numbers in ascending order, null left out; none for an axis of words."""
    values = {value for point in points if (value := point.get(axis)) is not None}
    numbers = [value for value in values if isinstance(value, int | float) and not isinstance(value, bool)]
    return tuple(sorted(numbers)) if len(numbers) == len(values) else ()


def beside_failures(selection: Selection, results: Sequence[Result]) -> list[str]:
    """Return the axes on which nothing but failed points lies beyond the selected one, in words: they bound it, not a lower score."""
    found = []
    for axis in selection.point:
        values = ordered_values((result.point for result in results), axis)
        for side, beyond in _sides(selection.point.get(axis), values):
            line = [r for r in results if r.point.get(axis) in beyond and _elsewhere(r.point, axis) == _elsewhere(selection.point, axis)]
            if line and all(result.status not in ("finished", "pruned") for result in line):
                found.append(f"every value of {axis} {side} {selection.point[axis]} failed ({', '.join(sorted({r.status for r in line}))})")
    return found


def _edges_on(axis: str, points: Sequence[Point], domain: Domain | None, best: Sequence[Point]) -> Iterator[Edge]:
    if domain is None or isinstance(domain, Choice):
        listed = points if domain is None else [{axis: value} for value in domain.values]
        yield from (edge for edge in _ends(axis, listed) if all(point.get(axis) == edge.value for point in best))
        return
    low, high = limits(axis)
    chosen = [float(value) for point in best if isinstance(value := point.get(axis), int | float)]
    shares, bounds = [domain.share(value) for value in chosen], (domain.low, domain.high)
    if domain.low > low and all(share <= EDGE_SHARE for share in shares):
        yield Edge(axis, "low", chosen[0], bounds, domain)
    if domain.high < high and all(share >= 1 - EDGE_SHARE for share in shares):
        yield Edge(axis, "high", chosen[0], bounds, domain)


def _ends(axis: str, points: Sequence[Point]) -> Iterator[Edge]:
    values = ordered_values(points, axis)
    if len(values) >= LEAST_VALUES:
        low, high = limits(axis)
        if values[0] > low:
            yield Edge(axis, "low", values[0], values)
        if values[-1] < high:
            yield Edge(axis, "high", values[-1], values)


def _sides(value: object, values: Sequence[float]) -> Iterator[tuple[str, set[float]]]:
    if value in values:
        place = values.index(value)
        yield "below", set(values[:place])
        yield "above", set(values[place + 1 :])


def _elsewhere(point: Point, axis: str) -> dict[str, object]:
    return {name: value for name, value in point.items() if name != axis}
