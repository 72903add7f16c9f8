"""The rules on the conduct of a sweep: no selected point on the edge of the grid (F9), no unseen look at the test split (F13)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.fairness.conduct import Conduct
from orchestrator.fairness.edges import LEAST_VALUES, NO_DOMAIN, Edge, beside_failures, edges_of, ordered_values
from orchestrator.fairness.entry import Entry
from orchestrator.fairness.rule import Rule, by_row, verdict
from orchestrator.fairness.search import result_of
from orchestrator.selection import Result, Selection, select_point, stands
from search_spaces.domains import Choice, Domain, Range
from search_spaces.search import LARGEST_EXTENSION

Place = tuple[str, str]
"""Scope and row."""


def inside_the_grid(entries: Sequence[Entry], conduct: Conduct) -> Rule:
    """F9: what is reported was not selected on the edge of an ordered axis, unless that was accepted; then the row is marked."""
    selects: dict[Place, list[Entry]] = {}
    for entry in entries:
        if entry.selects and entry.status is not None:
            selects.setdefault(by_row(entry), []).append(entry)
    reported = {by_row(entry) for entry in entries if entry.reports}
    domain = conduct.study.axes if conduct.study is not None else NO_DOMAIN
    results = {place: [result_of(entry) for entry in some] for place, some in selects.items()}
    chosen = {place: select_point(some) for place, some in results.items()}
    found = {
        place: edges_of(chosen[place], [result.point for result in some], selects[place][0].reads, domain)
        for place, some in results.items()
        if place in reported or (conduct.selected and stands(some))
    }
    axes = _axes(entries) if conduct.study is None else _axes_of(domain)
    edges = {place: some for place, some in found.items() if some}
    deviations = [
        f"{row} on {scope}: reported at {edge}: better ones may lie beyond. "
        "Fix: `fairsweep extend`, or `fairsweep run --accept-edge`, which marks the row"
        for (scope, row), some in edges.items()
        for edge in some
        if (scope, row) in reported and not conduct.accepted_edge
    ]
    deviations += [
        f"{axis}: extended by {steps} steps at its {end} end, where {LARGEST_EXTENSION} are allowed"
        for axis, ends in conduct.extended.items()
        for end, steps in ends.items()
        if steps > LARGEST_EXTENSION
    ]
    return verdict(
        "F9",
        "no reported point on the edge of the grid, or accepted and marked",
        deviations,
        _edge_marks(edges, selects),
        decided=bool(found) and conduct.selected,
        axes=axes,
        unchecked=[axis for axis, values in axes.items() if 1 < len(values) < LEAST_VALUES and not isinstance(domain.get(axis), Range)],
        edges=[_edge_json(place, edge) for place, some in edges.items() for edge in some],
        beside_failures=_beside_failures(chosen, results),
        accepted=conduct.accepted_edge,
        extended={axis: dict(ends) for axis, ends in conduct.extended.items()},
    )


def no_unseen_reads(entries: Sequence[Entry], conduct: Conduct) -> Rule:
    """F13: every other version of the sweep that read the test split is listed, and rows whose split it read are marked.

    To look at the test split, change the sweep and look again is no breach that a rule could tell from an honest second study, so the
    rule holds when the reads are listed; whoever reads the board sees how many looks came before.
    """
    marks: dict[str, list[str]] = {}
    for other in conduct.others:
        for row, reads in other.rows.items():
            marks.setdefault(row, []).append(f"{'once' if reads == 1 else f'{reads} times'} under digest {other.digest[:8]}")
    return verdict(
        "F13",
        "every other version of this sweep that read the test split is listed",
        [],
        {row: f"its test split was also read {', '.join(reads)}" for row, reads in marks.items()},
        digests={
            other.digest: {"runs": other.runs, "reads": other.reads, "shared": other.shared, "rows": dict(other.rows)}
            for other in conduct.others
        },
        reads=sum(other.reads - other.shared for other in conduct.others),
    )


def _edge_marks(edges: dict[Place, tuple[Edge, ...]], selects: dict[Place, list[Entry]]) -> dict[str, str]:
    """Return `row on model` -> what was selected on an edge, task by task."""
    found: dict[str, list[str]] = {}
    for place, some in edges.items():
        cell = selects[place][0].cell
        found.setdefault(f"{place[1]} on {cell.model}", []).append(f"{cell.task} {'; '.join(map(str, some))}")
    return {row: f"selected on the edge of the grid: {'; '.join(parts)}" for row, parts in found.items()}


def _beside_failures(chosen: Mapping[Place, Selection], results: Mapping[Place, Sequence[Result]]) -> list[str]:
    return [
        f"{row} on {scope}: {words}"
        for (scope, row), selection in chosen.items()
        if selection.score is not None
        for words in beside_failures(selection, results[scope, row])
    ]


def _axes(entries: Sequence[Entry]) -> dict[str, list[float]]:
    """Return the values of the ordered axes."""
    points = [entry.trial.point for entry in entries if entry.selects]
    axes = dict.fromkeys(axis for point in points for axis in point)
    return {axis: list(values) for axis in axes if (values := ordered_values(points, axis))}


def _axes_of(domain: Mapping[str, Domain]) -> dict[str, list[float]]:
    """Return the values of the ordered axes of a search, of a continuous one its bounds."""
    values = {axis: found.values if isinstance(found, Choice) else (found.low, found.high) for axis, found in domain.items()}
    ordered = {axis: ordered_values([{axis: value} for value in listed], axis) for axis, listed in values.items()}
    return {axis: list(listed) for axis, listed in ordered.items() if listed}


def _edge_json(place: Place, edge: Edge) -> dict[str, Any]:
    scope, row = place
    return {"row": row, "scope": scope, **edge.to_json()}
