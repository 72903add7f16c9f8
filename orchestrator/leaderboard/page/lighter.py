"""What is left out of a document, step by step, so that the page of a very large sweep stays one small file."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

Document = Mapping[str, Any]

_DIGITS = 7
"""Significant digits; no more are ever shown."""
_NOTE = "{} left out of this file to keep it small; the leaderboard in JSON has them."


def rounded(value: Any) -> Any:
    """Return JSON with its numbers cut to the digits that are shown."""
    if isinstance(value, Mapping):
        return {key: rounded(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(entry) for entry in value]
    return float(f"{value:.{_DIGITS}g}") if isinstance(value, float) and math.isfinite(value) else value


def without_grid_runs(document: Document) -> Document:
    """Leave out the run ids of grid points."""
    grids = [{**grid, "points": [{**point, "runs": []} for point in grid["points"]]} for grid in _part(document, "grids")]
    return _with(document, "The run ids of the grid points are", grids=grids)


def without_curves(document: Document) -> Document:
    """Leave out the training curves."""
    return _with(document, "The training curves are", learning=[{**entry, "curve": []} for entry in _part(document, "learning")])


def with_pairs_of_the_best(document: Document) -> Document:
    """Keep, of every family of comparisons, the pairs of the row that comes first on the board."""
    places = {name: place for place, name in reversed(list(enumerate(document.get("names", ()))))}
    families = [{**family, "pairs": _of_the_best(family["pairs"], places)} for family in _part(document, "families")]
    return _with(document, "Comparisons other than with the best row are", families=families)


def without(name: str, words: str, document: Document) -> Document:
    """Leave out a part of the analysis."""
    return _with(document, words, **{name: []}) if _part(document, name) else document


def without_report_runs(document: Document) -> Document:
    """Leave out the run ids of the report runs."""
    rows = [{**row, "runs": []} for row in document.get("rows", ())]
    return _noted(document, {**document, "rows": rows}, "The run ids of the report runs are")


LIGHTER: tuple[Callable[[Document], Document], ...] = (
    rounded,
    without_grid_runs,
    without_curves,
    with_pairs_of_the_best,
    partial(without, "sensitivities", "The sensitivities to hyper-parameters are"),
    partial(without, "learning", "The training losses are"),
    partial(without, "grids", "The grids are"),
    partial(without, "expected_best", "The tuning-budget curves are"),
    partial(without, "references", "The published results are"),
    partial(without, "families", "The comparisons are"),
    partial(without, "across_tasks", "The average ranks are"),
    without_report_runs,
    partial(without, "fronts", "The Pareto fronts are"),
    partial(without, "granularities", "The sizes per method are"),
)
"""Steps, from what costs a reader least to what costs most."""


def _of_the_best(pairs: list[dict[str, Any]], places: Mapping[str, int]) -> list[dict[str, Any]]:
    names = dict.fromkeys(name for pair in pairs for name in (pair["a"], pair["b"]))
    best = min(names, key=lambda name: places.get(name, len(places)), default=None)
    return [pair for pair in pairs if best in (pair["a"], pair["b"])]


def _part(document: Document, name: str) -> list[dict[str, Any]]:
    return (document.get("analysis") or {}).get(name) or []


def _with(document: Document, words: str, **parts: Any) -> Document:
    return _noted(document, {**document, "analysis": {**(document.get("analysis") or {}), **parts}}, words)


def _noted(before: Document, after: Document, words: str) -> Document:
    """Return a lighter document with a note of what it lacks; where it lacks nothing, the one before."""
    if all(before.get(name) == after.get(name) for name in ("rows", "analysis")):
        return before
    return {**after, "analysis": {**(after.get("analysis") or {}), "notes": [*_part(after, "notes"), _NOTE.format(words)]}}
