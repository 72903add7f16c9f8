"""The rules on the search: the same grid (F1), the same seeds (F5), one way to choose (F11)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

from orchestrator.fairness.entry import HYPERPARAMETERS, Entry, hyperparameters
from orchestrator.fairness.rule import Rule, by_label, by_row, disagreements, distinct, grouped, listed, verdict
from orchestrator.selection import TIE_RULE, Result, select_point
from orchestrator.variants import METHOD_AXES, OPTIMIZER_AXES

OPTIONAL_AXES = {*METHOD_AXES, *OPTIMIZER_AXES}
Values = tuple[Any, ...]


def same_grid(entries: Sequence[Entry]) -> Rule:
    """F1: every method is tried at the same grid points."""
    selects = [entry for entry in entries if entry.selects]
    grids = grouped(selects, by_row, lambda entry: hyperparameters(entry.trial.training))
    axes = _axes(selects)
    varied = [HYPERPARAMETERS.index(axis) for axis in axes]

    def differ(points: frozenset[Values], usual: frozenset[Values]) -> str:
        parts = [("lacks", usual - points), ("has beyond the others", points - usual)]
        return "; ".join(f"{verb} {_written(some, varied)}" for verb, some in parts if some)

    deviations = disagreements("grid", grids, differ)
    deviations += [fault for entry in entries if entry.selects or entry.reports for fault in unresolved(entry)]
    for entry in entries:
        if entry.reports and hyperparameters(entry.trial.training) not in grids.get(by_row(entry), ()):
            deviations.append(f"{entry.row} on {entry.scope}: reported at a point that was not in its grid: {entry.trial.point}")
    points = {label: distinct(len(found) for (_, row), found in grids.items() if row in rows) for label, rows in _rows(selects).items()}
    unread = {
        label: [axis for axis, values in axes.items() if axis in OPTIONAL_AXES and len(values) > 1 and axis not in e.reads]
        for label, e in by_label(entries).items()
    }
    return verdict(
        "F1",
        "identical grid points for every method",
        deviations,
        algorithm="grid",
        axes=axes,
        points={label: sizes[0] if len(sizes) == 1 else sizes for label, sizes in points.items()},
        unread={label: names for label, names in unread.items() if names},
    )


def same_seeds(entries: Sequence[Entry]) -> Rule:
    """F5: every method has the same seeds, and no seed both selects and reports."""
    selects, reports = [e for e in entries if e.selects], [e for e in entries if e.reports]
    at_point = grouped(selects, lambda e: (*by_row(e), hyperparameters(e.trial.training)), lambda e: e.trial.seed)
    per_point: dict[tuple[str, str], set[frozenset[int]]] = {}
    for (scope, row, _), seeds in at_point.items():
        per_point.setdefault((scope, row), set()).add(frozenset(seeds))
    per_report: dict[tuple[str, str], set[int]] = {by_row(entry): set() for entry in selects} if reports else {}
    per_report |= grouped(reports, by_row, lambda e: e.trial.seed)
    deviations = disagreements("select seeds", per_point) + disagreements("report seeds", per_report)
    select, report = ({e.trial.seed for e in some} for some in (selects, reports))
    if shared := select & report:
        deviations.append(f"seeds {sorted(shared)} both select and report")
    base = {e.trial.seed for e in entries if e.cell.is_base}
    if report and base - report:
        deviations.append(f"base: seeds {sorted(base - report)} are no report seeds")
    deviations += disagreements("the seed drives", grouped([*selects, *reports], by_row, lambda e: e.trial.vary))
    repeats = Counter(entry.trial.id for entry in entries)
    deviations += [f"trial {name} stands {count} times" for name, count in repeats.items() if count > 1]
    vary = distinct(consumer for entry in entries for consumer in entry.trial.vary)
    return verdict(
        "F5",
        "identical seeds; none both selects and reports",
        deviations,
        select=sorted(select),
        report=sorted(report),
        vary=vary,
    )


def one_choice_rule(entries: Sequence[Entry]) -> Rule:
    """F11: one rule picks the checkpoint, and one the grid point; where scores are known, the choice is made again."""
    tuned = [entry for entry in entries if entry.selects or entry.reports]
    rules = grouped(tuned, by_row, lambda e: (e.trial.training.checkpoint.best, e.trial.training.checkpoint.evaluations))
    deviations = disagreements("checkpoint rule", rules)
    results: dict[tuple[str, str], list[Result]] = {}
    for entry in tuned:
        if entry.selects and entry.status is not None:
            results.setdefault(by_row(entry), []).append(result_of(entry))
    verified = 0
    for (scope, row), points in grouped((e for e in tuned if e.reports), by_row, lambda e: tuple(sorted(e.trial.point.items()))).items():
        if (scope, row) in results:
            verified += 1
            tied = [tuple(sorted(point.items())) for point in select_point(results[scope, row]).tied]
            deviations += [f"{row} on {scope}: reports {dict(p)}, where the scores select {dict(tied[0])}" for p in points if p not in tied]
    checkpoints = [
        {"best": best or "last", "evaluations": n} for best, n in sorted({rule for found in rules.values() for rule in found}, key=str)
    ]
    return verdict("F11", "one checkpoint rule, one tie rule", deviations, checkpoint=checkpoints, ties=TIE_RULE, choices_verified=verified)


def result_of(entry: Entry) -> Result:
    """Return what an observed select trial says about its grid point."""
    metrics = entry.metrics or {}
    status = entry.status or "error"
    return Result(entry.trial.point, entry.trial.seed, status, metrics.get(f"selection/{entry.main}"), metrics.get("selection/loss"))


def _axes(selects: Sequence[Entry]) -> dict[str, list[Any]]:
    """Return the axes of the grid: what the points name, and what differs between trials."""
    named = {axis for entry in selects for axis in entry.trial.point}
    columns = zip(*{hyperparameters(entry.trial.training) for entry in selects}, strict=True)
    found = {name: distinct(column) for name, column in zip(HYPERPARAMETERS, columns, strict=False)}
    return {name: values for name, values in found.items() if name in named or len(values) > 1}


def _written(points: Iterable[Values], varied: Sequence[int]) -> str:
    return listed(", ".join(f"{HYPERPARAMETERS[i]}={point[i]}" for i in varied) for point in points)


def unresolved(entry: Entry) -> Iterable[str]:
    """Yield the axes whose value in the point is not the one that was trained with."""
    for axis, value in entry.trial.point.items():
        used = getattr(entry.trial.training, axis, None)
        if used != value:
            yield f"{entry.row} on {entry.scope}: trial {entry.trial.id} has {axis}={value} in its point and trains with {used}"


def _rows(selects: Sequence[Entry]) -> dict[str, set[str]]:
    return grouped(selects, lambda entry: entry.cell.label, lambda entry: entry.row)
