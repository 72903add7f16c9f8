"""What a sweep has left in its storage, read without the product's own store: it is what is being tested."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from search_spaces.trial import BASE

RESULT = ("status", "metrics", "curves", "best_step", "usage", "data_digests", "counts")
"""Fields of an Outcome that are the same whenever and wherever the trial runs."""
CHECKSUMS = "SHA256SUMS"


@dataclass(frozen=True)
class Record:
    """One trial's Outcome on disk."""

    trial_id: str
    label: str
    phase: str
    folder: Path
    attempt: str
    started: float
    ended: float
    digest: str
    """SHA-256 of outcome.json."""
    result: Mapping[str, Any]

    @property
    def status(self) -> str:
        return str(self.result["status"])

    @property
    def selects(self) -> bool:
        return self.phase == "select"

    @property
    def reports(self) -> bool:
        """Whether it waited for the selection, as all report trials but the untuned model's do."""
        return self.phase == "report" and self.label != BASE

    def describe(self) -> str:
        return f"trial {self.trial_id} ({self.label}, {self.phase})"


def outcome_folders(outcomes: Path) -> dict[str, Path]:
    """Return the folders of the trials that have an Outcome."""
    if not outcomes.is_dir():
        return {}
    return {path.name: path for path in outcomes.iterdir() if not path.name.startswith(".") and (path / CHECKSUMS).is_file()}


def attempts(outcomes: Path) -> list[tuple[str, Path]]:
    """Return (trial id, folder) of every attempt that collects its files, or was killed while it did."""
    if not outcomes.is_dir():
        return []
    return [(path.name[1:].partition(".")[0], path) for path in outcomes.iterdir() if path.name.startswith(".")]


def read_records(outcomes: Path) -> dict[str, Record]:
    """Return what there is, by trial id."""
    return {trial_id: _record(trial_id, folder) for trial_id, folder in outcome_folders(outcomes).items()}


def _record(trial_id: str, folder: Path) -> Record:
    trial, content = json.loads((folder / "trial.json").read_text()), (folder / "outcome.json").read_bytes()
    outcome = json.loads(content)
    return Record(
        trial_id=trial_id,
        label=trial["label"],
        phase=trial["phase"],
        folder=folder,
        attempt=outcome["attempt"],
        started=outcome["started"],
        ended=outcome["ended"],
        digest=hashlib.sha256(content).hexdigest(),
        result={name: outcome[name] for name in RESULT},
    )


def damage(record: Record) -> list[str]:
    """Return which of a record's files are missing or are not as they were written."""
    lines = (record.folder / CHECKSUMS).read_text().splitlines()
    expected = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    found = {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files(record.folder).items() if name != CHECKSUMS}
    return sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))


def files(folder: Path) -> dict[str, Path]:
    """Return a folder's files by their path below it."""
    return {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*")) if path.is_file()}


def differences(found: Record, expected: Record) -> list[str]:
    """Return how a trial's result differs from that of an undisturbed run: numbers, curves, predictions, the adapter."""
    lines = [
        f"{name} {_first_difference(found.result[name], expected.result[name])}"
        for name in RESULT
        if found.result[name] != expected.result[name]
    ]
    if predictions(found) != predictions(expected):
        lines.append("predictions differ")
    if weights(found) != weights(expected):
        lines.append("the adapter's weights differ")
    return lines


def predictions(record: Record) -> Any:
    """Return a trial's predictions as plain columns; None where it has none."""
    file = record.folder / "predictions.parquet"
    return pq.read_table(file).to_pydict() if file.is_file() else None


def weights(record: Record) -> str | None:
    """Return the digest of a trial's adapter; None where it has none."""
    file = record.folder / "adapter" / "adapter.safetensors"
    return hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else None


def seconds_of(records: Iterable[Record]) -> float:
    """Return the longest time from the start of a trial to its end."""
    return max(record.ended - record.started for record in records)


def _first_difference(found: Any, expected: Any) -> str:
    if isinstance(found, dict) and isinstance(expected, dict):
        name = min(key for key in found.keys() | expected.keys() if found.get(key) != expected.get(key))
        return f"{name}: {_short(found.get(name))} instead of {_short(expected.get(name))}"
    return f"{_short(found)} instead of {_short(expected)}"


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
