"""Tables for a terminal: plans, certificates, listings. Everything shown is text, never markup."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.audit import Audit
from orchestrator.cells import row_name
from orchestrator.fairness import Certificate
from orchestrator.leaderboard.columns import printable
from orchestrator.plan import Plan


def plan(made: Plan) -> list[RenderableType]:
    """Return what `fairsweep plan` shows."""
    document = made.to_json()
    phases = document["phases"]
    head = Text(f"{made.spec.name}: {document['trials']} trials, {phases['select']} to select and {phases['report']} to report")
    by_model = ["model"] if len(made.found.models) > 1 else []
    by_budget = ["budget", "off"] if document["budgets"] else []
    table = Table(
        "method",
        "implementation",
        *by_model,
        "adapter",
        "trainable parameters",
        *by_budget,
        "points" if document["search"] else "grid points",
        "trials",
    )
    for label, method in document["methods"].items():
        sizes = [(rung["config"], model, counts) for rung in method["capacities"] for model, counts in rung["models"].items()]
        for number, (config, model, counts) in enumerate(sizes or [({}, "-", None)]):
            name, trials = row_name(label, config), str(document["trials_by_method"][label]) if number == 0 else ""
            cells = [name, method["implementation"], *([model] if by_model else []), *_sizes(counts), *(_met(counts) if by_budget else [])]
            table.add_row(*map(Text, [*cells, str(method["points"]), trials]))
    untuned = ["base", "the untuned model", *("-" for _ in by_model), "0", "0", *("-" for _ in by_budget), "-"]
    table.add_row(*untuned, str(document["base"]["trials"]))
    ways = [*searched(document), *halved(document["halving"])]
    notes = [*document["notes"], *ways, *unchecked(made.certificate), *published(document["published"])]
    return [head, table, *map(Text, notes), *map(Text, refusals(document["refused"])), *certificate(made.certificate)]


def searched(document: Mapping[str, Any]) -> list[str]:
    """Return what a plan's search does, in two lines, or none for a grid."""
    if (search := document["search"]) is None:
        return []
    cells = f"{search['trials']} points per row and task, the same sampler and seed {search['seed']} for every method"
    axes = ", ".join(f"{axis} {_written(domain)}" for axis, domain in search["domain"].items())
    way = f"{search['startup']} to start with, the same for every method, then {search['batch']} at a time by what the last ones scored"
    opened = f"; the points of {document['open']} trials are open until then" if document["open"] else ""
    known = way + opened if document["open"] else "all of them known from the start, the same for every method"
    return [f"search: optuna {search['version']}, {search['sampler']}: {cells}; {known}", f"domain: {axes}"]


def halved(found: Mapping[str, Any] | None) -> list[str]:
    """Return how points are given up, a line per task; none where every point is trained to its end."""
    lines = []
    for task, rungs in (found or {"tasks": {}})["tasks"].items():
        stages = ", ".join(f"{rung['survivors']} of {rung['points']} go on at step {rung['step']}" for rung in rungs["rungs"])
        share = f"{rungs['steps']:,} of {rungs['full_steps']:,} steps ({rungs['steps'] / rungs['full_steps']:.0%})"
        lines.append(f"halving of {task}: {stages}; {share} for every row and select seed, the same for every method")
    return lines


def unchecked(certified: Certificate) -> list[str]:
    """Return a line on the axes that are too short to tell an edge of the grid from its inside, or none."""
    axes = certified.rule("F9").evidence["unchecked"]
    return [f"{', '.join(axes)}: both of 2 values are edges of the grid; F9 looks at axes of 3 or more"] if axes else []


def published(found: Mapping[str, Any] | None) -> list[str]:
    """Return the published figures of a plan in one line, or none."""
    if found is None:
        return []
    figures, sources = (f"{found[key]} {key if found[key] != 1 else key[:-1]}" for key in ("figures", "sources"))
    missing = f"; this sweep has no row {', '.join(found['without_row'])}" if found["without_row"] else ""
    return [f"published: {figures} of {sources}, {found['shown']} beside rows of this sweep{missing}"]


def refusals(refused: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return refused cells in words: one line per reason and model, with all rows and tasks that it concerns."""
    groups: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for cell in refused:
        groups.setdefault((cell["reason"], cell["model"]), []).append(cell)
    lines = []
    for (reason, model), cells in groups.items():
        rows = dict.fromkeys(row_name(cell["label"], cell["capacity"]) for cell in cells)
        tasks = dict.fromkeys(cell["task"] for cell in cells)
        lines.append(f"refused: {', '.join(rows)} on {', '.join(tasks)} with {model}: {reason}")
    return lines


def certificate(certified: Certificate, missing: Sequence[str] = ()) -> list[RenderableType]:
    """Return a certificate rule by rule, with what deviates."""
    holding = sum(rule.ok for rule in certified.rules)
    verdict = "holds" if certified.ok else "incomplete" if holding == len(certified.rules) else "FAILS"
    table = Table("rule", "title", "holds", "deviations and marks")
    for rule in certified.rules:
        remarks = [*map(str, rule.evidence.get("deviations", [])), *_marks(rule.evidence.get("marks", {}))]
        shown = Text("\n".join(map(printable, remarks)))
        table.add_row(rule.id, Text(printable(rule.title)), "yes" if rule.ok else Text("NO", style="bold red"), shown)
    lines = [Text(printable(f"missing: {name}")) for name in missing]
    return [Text(f"Certificate: {verdict} ({holding} of {len(certified.rules)} rules)", style="bold"), table, *lines]


def audit(found: Audit) -> list[RenderableType]:
    """Return what `fairsweep audit` shows: the certificate, the failed trials by method, what is missing."""
    lines = [
        f"failed: {label}: {', '.join(f'{n} {phase} {status}' for phase, counts in phases.items() for status, n in counts.items())}"
        for label, phases in found.failures.items()
    ]
    if found.unsealed:
        lines.append(f"{found.unsealed} runs were delivered without a seal: a later change of their values cannot be seen")
    return [*certificate(found, found.missing), *map(line, lines)]


def listing(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Return rows that share their keys as a table."""
    if not rows:
        return Text("none")
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(Text(printable(_cell(value))) for value in row.values()))
    return table


def line(text: str) -> RenderableType:
    """Return one line of text."""
    return Text(printable(text))


def document(content: Mapping[str, Any]) -> RenderableType:
    """Return one document as a table of two columns."""
    table = Table("key", "value", show_header=False)
    for key, value in content.items():
        table.add_row(Text(printable(key)), Text(printable(_cell(value))))
    return table


def _written(domain: Any) -> str:
    """Return a domain as a sweep file writes it."""
    if isinstance(domain, Mapping):
        return ", ".join(f"{kind} {list(bounds)}" for kind, bounds in domain.items())
    return str(list(domain))


def _sizes(counts: Mapping[str, Any] | None) -> list[str]:
    """Return what budgets count, and the total with the head."""
    return [f"{counts['peak']:,}", f"{counts['trainable']:,}"] if counts else ["-", "-"]


def _met(counts: Mapping[str, Any] | None) -> list[str]:
    """Return the budgets that a capacity was solved for, and how far off each it is."""
    fits = counts["budgets"] if counts else []
    return [" and ".join(f"{fit['budget']:,}" for fit in fits) or "-", ", ".join(f"{fit['off']:+,.1%}" for fit in fits) or "-"]


def _marks(marks: Mapping[str, Any]) -> list[str]:
    return [f"{label}: {mark}" for label, mark in marks.items()]


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(map(_cell, value)) or "[]"
    if isinstance(value, dict):
        return ", ".join(f"{key} {'auto' if entry is None else _cell(entry)}" for key, entry in value.items())
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)
