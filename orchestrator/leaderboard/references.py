"""Results that were published and not run here: read from MLflow, and as the lines of a table of their own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import Field, ValidationError

from orchestrator.leaderboard.analysis import Reference
from orchestrator.tracking import schema
from orchestrator.tracking.records import RunReader, RunRecord
from search_spaces.errors import TrackingError
from search_spaces.trial import Frozen

FILE = "references.json"
"""Artifact of a run of kind `reference`."""
LIMIT_BYTES = 32 * 2**20
CAPTION = "published, not run here"


class ReferenceDocument(Frozen):
    """`references.json`."""

    name: str
    """What was imported: the form and the name of a file or a folder."""
    references: tuple[Reference, ...] = Field(min_length=1)


def read_references(reader: RunReader, sweep: str) -> tuple[tuple[Reference, ...], tuple[str, ...]]:
    """Return what was imported into a sweep's experiment, by model, task and metric from the best on, and what could not be read."""
    newest = {record.tags.get(schema.NAME, ""): record for record in reader.side_runs(sweep, "reference")}
    found: list[Reference] = []
    missing: list[str] = []
    for name, record in sorted(newest.items()):
        try:
            found += _read(reader, record)
        except (TrackingError, OSError, ValueError) as error:
            reason = str(error).partition("\n")[0]
            missing.append(f"the published results {name[:200]!r} (run {record.run_id}) cannot be read: {reason}. Fix: import them again")
    return tuple(sorted(found, key=lambda r: (r.model, r.task, r.metric, -r.score, r.method))), tuple(missing)


def lines(references: Sequence[Reference]) -> list[list[str]]:
    """Return references as lines of cells, the header first: scores in per cent with their intervals, notes by number."""
    numbers = _numbered(references)
    header = ["method", "model", "task", "metric", "score %", "95 % interval", "trainable", "source"]
    return [header, *(_line(reference, numbers) for reference in references)]


def remarks(references: Sequence[Reference]) -> list[str]:
    """Return the notes that `lines` cites, each with its number."""
    return [f"[{number}] {'; '.join(notes)}" for notes, number in _numbered(references).items()]


def _numbered(references: Sequence[Reference]) -> dict[tuple[str, ...], str]:
    distinct = dict.fromkeys(reference.notes for reference in references if reference.notes)
    # A letter keeps them apart from the footnotes of the figures beside the rows.
    return {notes: f"P{number}" for number, notes in enumerate(distinct, start=1)}


def _line(reference: Reference, numbers: Mapping[tuple[str, ...], str]) -> list[str]:
    interval = f"{100 * reference.ci[0]:.1f} to {100 * reference.ci[1]:.1f}" if reference.ci else "-"
    return [
        reference.method,
        reference.model,
        reference.task,
        reference.metric,
        f"{100 * reference.score:.1f}",
        interval,
        f"{reference.trainable:,}" if reference.trainable is not None else "-",
        f"[{numbers[reference.notes]}] {reference.source}" if reference.notes else reference.source,
    ]


def _read(reader: RunReader, record: RunRecord) -> tuple[Reference, ...]:
    with TemporaryDirectory() as folder:
        file = reader.download(record.run_id, FILE, Path(folder))
        if file.stat().st_size > LIMIT_BYTES:
            raise ValueError(f"{FILE} has more than {LIMIT_BYTES:,} bytes")
        content = file.read_bytes()
    try:
        return ReferenceDocument.model_validate_json(content).references
    except ValidationError as error:
        raise ValueError(f"{FILE} is not of this version, or holds a number that is not finite") from error
