"""Reads of the test split under other versions of a sweep, counted from the runs of its experiment. For F13."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Collection, Iterable
from typing import Any

from orchestrator.cells import Cell, row_name
from orchestrator.fairness import OtherReads
from orchestrator.tracking import schema
from orchestrator.tracking.records import RunRecord
from search_spaces.trial import BASE

READS = "usage/test_reads"


def other_reads(records: Iterable[RunRecord], digest: str, taken_over: Collection[str], cells: Iterable[Cell]) -> tuple[OtherReads, ...]:
    """Return who read the test split under another digest than this one, the earliest digest first.

    Args:
        records: all runs of the sweep's experiment.
        digest: of the version that is audited.
        taken_over: ids of the report trials that it counts, whatever digest they ran under.
        cells: its cells.
    """
    rows = {f"{row_name(cell.label, cell.config)} on {cell.model}" for cell in cells}
    found: dict[str, list[RunRecord]] = {}
    for record in sorted(records, key=lambda record: (record.started, record.run_id)):
        if record.tags.get(schema.DIGEST, "") != digest and _reads(record):
            found.setdefault(record.tags.get(schema.DIGEST, ""), []).append(record)
    return tuple(_other(name, some, taken_over, rows) for name, some in found.items())


def _other(digest: str, records: list[RunRecord], taken_over: Collection[str], rows: Collection[str]) -> OtherReads:
    by_row: Counter[str] = Counter()
    for record in records:
        if record.trial_id not in taken_over and (row := _row(record)) in rows:
            by_row[row] += _reads(record)
    shared = sum(_reads(record) for record in records if record.trial_id in taken_over)
    return OtherReads(digest, len(records), sum(map(_reads, records)), shared, dict(by_row))


def _reads(record: RunRecord) -> int:
    reads = record.metrics.get(READS, 0)
    return int(reads) if math.isfinite(reads) else 0


def _row(record: RunRecord) -> str:
    """Return `row on model` as the run's tags say; empty for the untuned model, and where they cannot be read."""
    label = record.tags.get("fairsweep.method", BASE)
    try:
        capacity: Any = json.loads(record.tags.get("fairsweep.capacity", "{}"))
    except ValueError:
        return ""
    if label == BASE or not isinstance(capacity, dict):
        return ""
    return f"{row_name(label, dict(sorted(capacity.items())))} on {record.tags.get('fairsweep.model', '')}"
