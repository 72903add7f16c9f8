"""The rule on a search by studies (F1): an equal budget and domain for every method, each study's course repeated from its scores."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from importlib import metadata
from typing import Any

from orchestrator.fairness.entry import HYPERPARAMETERS, Entry, hyperparameters
from orchestrator.fairness.rule import Rule, by_label, by_row, disagreements, distinct, grouped, listed, verdict
from orchestrator.fairness.search import OPTIONAL_AXES, result_of, unresolved
from orchestrator.selection import FrozenPoint, Result, frozen, point_score
from orchestrator.study import asked, start_points
from orchestrator.study_plan import StudyPlan
from search_spaces.search import size_of

Place = tuple[str, str]
"""Scope and row."""


def same_search(entries: Sequence[Entry], plan: StudyPlan) -> Rule:
    """F1: every method has the same sampler, seed, start-up points, domain and number of points, and was tried where its study asked.

    What a study asks for follows from its plan and the scores. It is asked again here: a point that it does not ask for was added by hand,
    or a score that it was told has been changed since.
    """
    selects = [entry for entry in entries if entry.selects]
    tried = grouped(selects, by_row, lambda entry: frozen(entry.trial.point))
    fixed = [number for number, name in enumerate(HYPERPARAMETERS) if name not in plan.domain]
    settings = grouped(selects, by_row, lambda entry: tuple(hyperparameters(entry.trial.training)[number] for number in fixed))
    deviations = disagreements("settings besides the axes", settings)
    deviations += [fault for entry in entries if entry.selects or entry.reports for fault in unresolved(entry)]
    deviations += _start_faults(selects, plan)
    studies = {place: _asked(found, plan) for place, found in _by_place(selects).items()}
    for (scope, row), points in tried.items():
        if foreign := points - studies[scope, row]:
            deviations.append(f"{row} on {scope}: was tried at {_written(foreign)}, which its study does not ask for{_elsewhere(plan)}")
    for entry in entries:
        if entry.reports and frozen(entry.trial.point) not in tried.get(by_row(entry), ()):
            deviations.append(f"{entry.row} on {entry.scope}: reported at a point that was not in its search: {entry.trial.point}")
    varied = [axis for axis, domain in plan.axes.items() if size_of(domain) > 1 and axis in OPTIONAL_AXES]
    unread = {label: [axis for axis in varied if axis not in entry.reads] for label, entry in by_label(entries).items()}
    return verdict(
        "F1",
        "equal budget and domain for every method, the same sampler and start-up points",
        deviations,
        **plan.model_dump(mode="json", exclude={"domain"}),
        axes=dict(plan.domain),
        start_points=[dict(point) for point in start_points(plan)],
        points=_counts(tried),
        unread={label: axes for label, axes in unread.items() if axes},
    )


def _start_faults(selects: Sequence[Entry], plan: StudyPlan) -> list[str]:
    """Return the rows that are planned without the points that every study begins with."""
    planned = grouped((entry for entry in selects if entry.status is None), by_row, lambda entry: frozen(entry.trial.point))
    start = {frozen(point) for point in start_points(plan)}
    lacking = {place: start - points for place, points in planned.items()}
    return [f"{row} on {scope}: its search begins without {_written(some)}" for (scope, row), some in lacking.items() if some]


def _by_place(selects: Iterable[Entry]) -> dict[Place, list[Entry]]:
    found: dict[Place, list[Entry]] = {}
    for entry in selects:
        found.setdefault(by_row(entry), []).append(entry)
    return found


def _asked(selects: Iterable[Entry], plan: StudyPlan) -> set[FrozenPoint]:
    """Return the points that a cell's study asks for, given what its trials scored."""
    results: dict[FrozenPoint, list[Result]] = {}
    for entry in selects:
        if entry.status is not None:
            results.setdefault(frozen(entry.trial.point), []).append(result_of(entry))
    seeds = set(plan.select_seeds)
    return {frozen(point) for point in asked(plan, lambda point: point_score(results.get(frozen(point), []), seeds))}


def _written(points: Iterable[FrozenPoint]) -> str:
    return listed(", ".join(f"{axis}={value}" for axis, value in point) for point in points)


def _elsewhere(plan: StudyPlan) -> str:
    """Return what else may be the reason."""
    here = metadata.version("optuna")
    return "" if here == plan.version else f" (it ran with optuna {plan.version}, here is {here}. Fix: audit with that version)"


def _counts(tried: Mapping[Place, set[FrozenPoint]]) -> dict[str, Any]:
    """Return row -> number of points that it was tried at, on every scope."""
    sizes: dict[str, list[int]] = {}
    for (_, row), points in tried.items():
        sizes.setdefault(row, []).append(len(points))
    return {row: found[0] if len(set(found)) == 1 else distinct(found) for row, found in sizes.items()}
