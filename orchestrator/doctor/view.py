"""What the doctor shows: one JSON document, or a table per node."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from cluster.examination import Finding, Level, NodeReport
from orchestrator.doctor.subject import Subject

_STYLES: dict[Level, str] = {"ok": "green", "warning": "yellow", "failure": "bold red"}
_SHARED = "the sweep and what nodes share"


def document(subject: Subject, found: Sequence[Finding]) -> dict[str, Any]:
    """Return what `fairsweep doctor --json` prints."""
    keys = ("check", "node", "level", "seen", "fix")
    return {
        "ok": healthy(found),
        "nodes": [_node_json(report) for report in subject.nodes],
        "findings": [{key: asdict(finding)[key] for key in keys} for finding in found],
    }


def healthy(found: Sequence[Finding]) -> bool:
    """Tell whether a sweep would run."""
    return all(finding.level != "failure" for finding in found)


def tables(subject: Subject, found: Sequence[Finding]) -> list[RenderableType]:
    """Return a table of what no single node is to blame for, one per node, and a summary."""
    groups: list[str | None] = [None, *(report.name for report in subject.nodes)]
    shown = [_table(name or _SHARED, [finding for finding in found if finding.node == name]) for name in groups]
    return [*(table for table in shown if table.row_count), _summary(found)]


def _table(title: str, found: Sequence[Finding]) -> Table:
    table = Table("check", "level", "seen", "fix", title=Text(title, style="bold"), title_justify="left")
    for finding in found:
        style = _STYLES[finding.level]
        table.add_row(Text(finding.check), Text(finding.level, style=style), Text(finding.seen), Text(finding.fix))
    return table


def _summary(found: Sequence[Finding]) -> Text:
    levels = Counter(finding.level for finding in found)
    counts = ", ".join(f"{levels[level]} {level}{'s' if levels[level] != 1 else ''}" for level in ("failure", "warning"))
    return Text(f"{'A sweep can run' if healthy(found) else 'A sweep would fail'}: {counts}")


def _node_json(report: NodeReport) -> dict[str, Any]:
    return {
        "name": report.name,
        "address": report.node.address,
        "lost": report.node.lost or None,
        "resources": dict(report.node.resources),
        "machine": report.machine.model_dump() if report.machine else None,
        "clock_offset_seconds": report.offset.seconds if report.offset else None,
        **report.facts,
    }
