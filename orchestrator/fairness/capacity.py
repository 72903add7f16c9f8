"""The rule on capacity: every rung searched, ladders of unequal length compared at equal length, budgets met or marked (F2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.fairness.entry import Entry
from orchestrator.fairness.rule import Rule, by_row, disagreements, grouped, several, verdict
from search_spaces.capacity import distance, relative_distance


def capacity_ladders(entries: Sequence[Entry]) -> Rule:
    """F2: every capacity is searched on every task, and ladders of unequal length are compared at equal length.

    In a sweep by parameter budgets, a row that is further off its budget than the tolerance is marked.
    """
    selects = [entry for entry in entries if entry.selects]
    ladders = grouped(selects, lambda e: (f"{e.cell.label} with {e.cell.model}", e.cell.task), lambda e: e.row)
    deviations = disagreements("capacities", ladders)
    searched = {by_row(entry) for entry in selects}
    reported = dict.fromkeys(by_row(entry) for entry in entries if entry.reports)
    deviations += [f"{row} on {scope}: reported without having been searched" for scope, row in reported if (scope, row) not in searched]
    counted = grouped((e for e in entries if e.counts), by_row, lambda e: e.counts.trainable if e.counts else 0)
    deviations += several("trainable parameters", counted)
    shown = _ladders(selects)
    lengths = {label: _length(ladder) for label, ladder in shown.items()}
    budgets = _budgets(selects)
    return verdict(
        "F2",
        "capacity chosen by the selection score; ladders compared at equal length",
        deviations,
        _off_budget(budgets),
        ladders=shown,
        lengths=lengths,
        compared_at=min(lengths.values(), default=0),
        equal_lengths=len(set(lengths.values())) <= 1,
        budgets=budgets,
    )


def _ladders(selects: Sequence[Entry]) -> dict[str, list[dict[str, Any]]]:
    """Return each label's capacities with their trainable parameters on each model, with the head of its first task."""
    ladders: dict[str, dict[str, dict[str, Any]]] = {}
    for entry in selects:
        rungs = ladders.setdefault(entry.cell.label, {})
        if entry.row not in rungs:
            rungs[entry.row] = {"capacity": entry.cell.config, "trainable": {}}
        trainable = rungs[entry.row]["trainable"]
        if entry.cell.model not in trainable:
            trainable[entry.cell.model] = entry.counts.trainable if entry.counts else None
    return {label: list(rungs.values()) for label, rungs in ladders.items()}


def _length(ladder: Sequence[Mapping[str, Any]]) -> int:
    """Return the number of rungs on the model that has most: budgets may come to other capacities on every model."""
    models = [model for rung in ladder for model in rung["trainable"]]
    return max((models.count(model) for model in models), default=0)


def _budgets(selects: Sequence[Entry]) -> dict[str, list[dict[str, Any]]]:
    """Return how far each row is off its budgets: `row on model` -> one entry per budget."""
    met: dict[str, list[dict[str, Any]]] = {}
    for entry in selects:
        where = f"{entry.row} on {entry.cell.model}"
        if entry.counts is None or where in met or not entry.budgets:
            continue
        peak = entry.counts.peak
        offs = {budget: relative_distance(peak, budget) for budget in entry.budgets}
        met[where] = [
            {"budget": budget, "trainable": peak, "off": off, "within_tolerance": abs(off) <= entry.tolerance}
            for budget, off in offs.items()
        ]
    return met


def _off_budget(met: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, str]:
    """Return the marks of the rows that are off a budget."""
    return {
        where: "off its budget: " + ", ".join(f"{fit['trainable']:,} is {distance(fit['trainable'], fit['budget'])}" for fit in far)
        for where, fits in met.items()
        if (far := [fit for fit in fits if not fit["within_tolerance"]])
    }
