"""The sections on the search: the procedure, the grid, the methods, and where every selected point lay."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping
from typing import Any

from orchestrator.appendix.blocks import Block, Items, Paragraph, Section, Table
from orchestrator.appendix.source import Source
from orchestrator.appendix.words import mapping, percent, point, word
from orchestrator.fairness.edges import EDGE_SHARE, LEAST_VALUES, ordered_values
from orchestrator.leaderboard.analysis import Grid
from orchestrator.plan_document import PlanDocument
from orchestrator.selection import TIE_RULE
from search_spaces.domains import Domain, Range
from search_spaces.search import ADAPTIVE

_FIXED = ("learning_rate", "head_learning_rate", "scale")
"""Settings of training that the grid gives."""
_SELECT = (
    "Select: every row is trained at each of the {points} grid points on the select seeds ({seeds}), and scored on the selection split, "
    "which is carved from the training data."
)
_STUDY = (
    "Select: every row is trained at {points} points of its own study on the select seeds ({seeds}), and scored on the selection split, "
    "which is carved from the training data."
)
_REPORT = (
    "Report: each row at its selected point only, on the report seeds ({seeds}), scored once on the test split. No trial of the select "
    "phase reads the test split."
)
_FAILED = (
    "A report run that diverged scores as the untuned model and is shown; one that ran out of memory or failed leaves its row unranked."
)


def procedure(source: Source) -> Section:
    """How points and checkpoints were chosen, in words."""
    settings = source.settings
    seeds, search = mapping(settings.get("seeds")), mapping(settings.get("search"))
    select, report = (word(seeds.get(phase)) for phase in ("select", "report"))
    texts = [
        _select(source.sweep.plan, select),
        _REPORT.format(seeds=report),
        _searched(source.sweep.plan),
        f"Choice of a point, per row and task: {TIE_RULE}. A point with a failed seed comes after every complete one.",
        _checkpoint(mapping(mapping(settings.get("training")).get("checkpoint"))),
        _FAILED,
        *_extensions(search),
    ]
    return Section("Search procedure", [Paragraph("Trials run in two phases."), Items(texts)])


def grid(source: Source) -> Section:
    """The axes of the grid, and what was the same in every trial."""
    plan = source.sweep.plan
    axes: dict[str, dict[str, None]] = {}
    for values in plan.points:
        for axis, value in values.items():
            axes.setdefault(axis, {})[word(value)] = None
    if plan.search is not None:
        axes = {axis: dict.fromkeys([_domain(domain)]) for axis, domain in plan.search.axes.items()}
    title = "One grid for every method" if plan.search is None else "One domain for every method"
    blocks: list[Block] = [Table(title, ["axis", "values"], [[axis, ", ".join(found)] for axis, found in axes.items()])]
    training = {key: value for key, value in mapping(source.settings.get("training")).items() if key not in _FIXED and key not in axes}
    shown = {**training, "targets": source.settings.get("targets"), "also_train": source.settings.get("also_train")}
    blocks.append(
        Table(
            "The same in every trial; a label may have an optimiser of its own",
            ["setting", "value"],
            [[key, word(value)] for key, value in shown.items()],
        )
    )
    overrides = {task: content for task, content in mapping(source.settings.get("tasks")).items() if any(mapping(content).values())}
    if overrides:
        texts = [f"{task}: {word({key: value for key, value in content.items() if value})}" for task, content in overrides.items()]
        blocks += [Paragraph("Settings of single tasks:"), Items(texts)]
    return Section("Grid and fixed settings", blocks)


def methods(source: Source) -> Section:
    """What stands behind the labels."""
    rows = [_method(label, content, source) for label, content in mapping(source.document.get("implementations")).items()]
    header = ["label", "implementation", "family", "optimiser", "capacities", "settings and defaults", "grid axes it does not read"]
    refused = [f"{r.label} on {r.task} with {r.model} was refused: {r.reason}" for r in source.sweep.refused]
    return Section(
        "Methods", [Table("What stands behind the labels", header, rows), *([Items(list(dict.fromkeys(refused)))] if refused else [])]
    )


def selected(source: Source) -> Section:
    """Every selected point, and where it lay in the grid."""
    domain = source.sweep.plan.search.axes if source.sweep.plan.search else {}
    rows = [_selected(found, domain) for found in source.board.analysis.grids]
    header = ["row", "model", "task", "selected", "position on each ordered axis", "selection %", "median of the grid %", "failed points"]
    note = "Positions count the values of an axis of three or more from its smallest; a position at an end is an edge."
    if any(isinstance(found, Range) for found in domain.values()):
        note += f" Those on a continuous axis are shares of its domain, on its own scale; within {EDGE_SHARE:.0%} of a bound is an edge."
    table = Table("Where the selected points lay", header, rows, frozenset({5, 6, 7}))
    return Section("Selected points", [Paragraph(note), table] if rows else [])


def sensitivity(source: Source) -> Section:
    """How much the selection score depends on each axis."""
    found = [entry for entry in source.board.analysis.sensitivities if len(entry.shares) > 1]
    rows = [
        [
            entry.row,
            entry.model,
            entry.task,
            "; ".join(f"{axis} {percent(share, 0)} %" for axis, share in entry.shares.items()),
            percent(entry.spread),
        ]
        for entry in found
    ]
    note = "Main effects: share of the variance of the selection score over the grid that goes with each axis; the rest are interactions."
    header = ["row", "model", "task", "share of each axis", "std over the grid, points"]
    return Section(
        "Sensitivity to the grid", [Paragraph(note), Table("Main effects of the axes", header, rows, frozenset({4}))] if rows else []
    )


def _checkpoint(section: Mapping[str, Any]) -> str:
    evaluations, best = section.get("evaluations", 1), section.get("best")
    if best is None:
        return "Checkpoint: the last state of the adapter, for every method."
    criterion = "main metric" if best == "metric" else "loss"
    times = "once, at the last step" if evaluations == 1 else f"{evaluations} times, at equally spaced steps"
    return f"Checkpoint: the state with the best {criterion} on the selection split, evaluated {times}, the same steps for every method."


def _extensions(search: Mapping[str, Any]) -> Iterator[str]:
    for axis, ends in mapping(search.get("extended")).items():
        low, high = (mapping(ends).get(end, 0) for end in ("low", "high"))
        yield f"The grid was extended for all methods on {axis}: {low} steps below, {high} steps above."
    if search.get("accept_edge"):
        yield "Selected points on the edge of the grid were accepted; their rows are marked."


def _method(label: str, content: Mapping[str, Any], source: Source) -> list[str]:
    sizes = dict.fromkeys(point(cell.capacity) for cell in source.sweep.plan.cells if cell.label == label)
    settings = {**mapping(content.get("defaults")), **mapping(content.get("settings"))}
    reads = content.get("reads") or source.sweep.plan.varied
    unread = [axis for axis in source.sweep.plan.varied if axis not in reads]
    own = mapping(content.get("optimizer_settings"))
    optimizer = " ".join([str(content.get("optimizer", "")), *(f"{key}={word(value)}" for key, value in own.items())])
    names = [label, str(content.get("method")), str(content.get("family", "")), optimizer]
    return [*names, ", ".join(sizes), point(settings), ", ".join(unread) or "-"]


def _select(plan: PlanDocument, seeds: str) -> str:
    if plan.search is None:
        return _SELECT.format(points=len(plan.points), seeds=seeds)
    return _STUDY.format(points=plan.search.trials, seeds=seeds)


def _searched(plan: PlanDocument) -> str:
    if (search := plan.search) is None:
        return "Search: grid, the same points for every method."
    start = f"Search: optuna {search.version}, sampler {search.sampler}, seed {search.seed}, one study per row and task"
    if search.sampler not in ADAPTIVE:
        return f"{start}; all points are known from the start, the same for every method."
    batches = f"the first {search.startup} points are the same for every method, then {search.batch} are asked for at a time"
    return f"{start}; {batches}, and the study is told their scores together, in the order of the points."


def _domain(domain: Domain) -> str:
    if isinstance(domain, Range):
        (kind, bounds), *_ = domain.written().items()
        return f"{kind.replace('_', ' ')} in {bounds[0]:g} to {bounds[1]:g}"
    return ", ".join(word(value) for value in domain.values)


def _selected(found: Grid, domain: Mapping[str, Domain]) -> list[str]:
    scores = [entry.score for entry in found.points if entry.score is not None]
    chosen = next((entry.score for entry in found.points if entry.point == found.selected), None)
    failed = sum(any(status not in ("finished", "pruned") for status in entry.statuses) for entry in found.points)
    return [
        found.row,
        found.model,
        found.task,
        point(found.selected),
        "; ".join(_positions(found, domain)) or "-",
        percent(chosen),
        percent(statistics.median(scores) if scores else None),
        f"{failed} of {len(found.points)}",
    ]


def _positions(found: Grid, domain: Mapping[str, Domain]) -> Iterator[str]:
    for axis, values in found.axes.items():
        chosen, drawn = (found.selected or {}).get(axis), domain.get(axis)
        if isinstance(drawn, Range) and isinstance(chosen, int | float):
            yield f"{axis} at {drawn.share(chosen):.0%}{' (EDGE)' if axis in found.edges else ''}"
            continue
        numbers = ordered_values([{axis: value} for value in values], axis)
        if len(numbers) >= LEAST_VALUES and chosen in numbers:
            place = numbers.index(chosen) + 1
            yield f"{axis} {place} of {len(numbers)}{' (EDGE)' if axis in found.edges else ''}"
