"""Tables for a terminal: plans, certificates, listings. Everything shown is text, never markup."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.cells import row_name
from orchestrator.fairness import Certificate
from orchestrator.plan import Plan


def plan(made: Plan) -> list[RenderableType]:
    """Return what `fairsweep plan` shows."""
    document = made.to_json()
    phases = document["phases"]
    head = Text(f"{made.spec.name}: {document['trials']} trials, {phases['select']} to select and {phases['report']} to report")
    by_budget = ["budget", "off"] if document["budgets"] else []
    table = Table("method", "implementation", "trainable parameters", *by_budget, "grid points", "trials")
    for label, method in document["methods"].items():
        rungs = method["capacities"] or [{"config": {}, "models": {}}]
        for number, rung in enumerate(rungs):
            sizes = ", ".join(f"{counts['trainable']:,}" for counts in rung["models"].values()) or "-"
            trials = str(document["trials_by_method"][label]) if number == 0 else ""
            met = _met(rung) if by_budget else []
            table.add_row(Text(row_name(label, rung["config"])), Text(method["implementation"]), sizes, *met, str(method["points"]), trials)
    table.add_row("base", "the untuned model", "0", *("-" for _ in by_budget), "-", str(document["base"]["trials"]))
    refused = [Text(f"refused: {row_name(r['label'], r['capacity'])} on {r['model']}: {r['reason']}") for r in document["refused"]]
    return [head, table, *map(Text, document["notes"]), *refused, *certificate(made.certificate)]


def certificate(certified: Certificate, missing: Sequence[str] = ()) -> list[RenderableType]:
    """Return a certificate rule by rule, with what deviates."""
    holding = sum(rule.ok for rule in certified.rules)
    verdict = "holds" if certified.ok else "incomplete" if holding == len(certified.rules) else "FAILS"
    table = Table("rule", "title", "holds", "deviations and marks")
    for rule in certified.rules:
        remarks = [*map(str, rule.evidence.get("deviations", [])), *_marks(rule.evidence.get("marks", {}))]
        table.add_row(rule.id, Text(rule.title), "yes" if rule.ok else Text("NO", style="bold red"), Text("\n".join(remarks)))
    lines = [Text(f"missing: {name}") for name in missing]
    return [Text(f"Certificate: {verdict} ({holding} of {len(certified.rules)} rules)", style="bold"), table, *lines]


def listing(rows: Sequence[Mapping[str, Any]]) -> RenderableType:
    """Return rows that share their keys as a table."""
    if not rows:
        return Text("none")
    table = Table(*rows[0])
    for row in rows:
        table.add_row(*(Text(_cell(value)) for value in row.values()))
    return table


def line(text: str) -> RenderableType:
    """Return one line of text."""
    return Text(text)


def document(content: Mapping[str, Any]) -> RenderableType:
    """Return one document as a table of two columns."""
    table = Table("key", "value", show_header=False)
    for key, value in content.items():
        table.add_row(Text(key), Text(_cell(value)))
    return table


def _met(rung: Mapping[str, Any]) -> list[str]:
    """Return the budgets that a capacity was solved for, and how far off each it is on every model."""
    by_model = [counts["budgets"] for counts in rung["models"].values()]
    budgets = dict.fromkeys(f"{fit['budget']:,}" for fits in by_model for fit in fits)
    return [" and ".join(budgets) or "-", ", ".join(f"{fit['off']:+,.1%}" for fits in by_model for fit in fits) or "-"]


def _marks(marks: Mapping[str, Any]) -> list[str]:
    return [f"{label}: {mark}" for label, mark in marks.items()]


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, list):
        return ", ".join(map(_cell, value))
    if isinstance(value, dict):
        return ", ".join(f"{key} {_cell(entry)}" for key, entry in value.items())
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)
