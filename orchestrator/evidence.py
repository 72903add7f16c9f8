"""What report runs left besides their metrics: the predictions on the test split, and the curves. Checked before they are used."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from tempfile import mkdtemp
from threading import Event

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import ValidationError

from orchestrator.bounded_folder import BoundedFolder
from orchestrator.tracking import schema
from orchestrator.tracking.artifacts import stamp
from orchestrator.tracking.connection import AwayError, shown_uri
from orchestrator.tracking.records import RunReader, RunRecord
from search_spaces.errors import FairsweepError, StorageError
from trainers.folders import CHECKSUMS, parse_checksums
from trainers.locations import cache_root
from trainers.results import Outcome

OUTCOME, PREDICTIONS = "outcome.json", "predictions.parquet"
COLUMNS = ("split", "id", "group", "prediction")
"""Columns that every predictions.parquet has; `reference` and the metrics that rows have follow."""
THREADS = 16
"""Runs whose files are fetched at one time."""
CACHE_BYTES = 2 * 2**30
"""Largest size of the fetched files together; those that were used longest ago give way."""

Curves = Mapping[str, Sequence[tuple[int, float]]]


@dataclass(frozen=True)
class RunEvidence:
    """What one run left, as far as it could be read.

    Attributes:
        table: the test split's rows; None where the run has none.
        curves: name -> (step, value) pairs.
        missing: why there is no table of a run that finished.
        is_passing: whether that may be otherwise a moment later.
        stamps: what the local files were when they were read.
    """

    table: pa.Table | None = None
    curves: Curves = field(default_factory=dict)
    missing: str | None = None
    is_passing: bool = False
    stamps: Mapping[str, str | None] = field(default_factory=dict)


class Evidence:
    """What the report runs of a sweep left, by run id."""

    def __init__(self, found: Mapping[str, RunEvidence]) -> None:
        self._found = found

    @property
    def missing(self) -> Mapping[str, str]:
        """Run id -> why there are no predictions of the run, though it finished."""
        return {run_id: run.missing for run_id, run in self._found.items() if run.missing is not None}

    @property
    def is_passing(self) -> bool:
        """Whether something could not be read because a store did not answer."""
        return any(run.is_passing for run in self._found.values())

    @property
    def stamps(self) -> Mapping[str, str | None]:
        """Path -> stamp of the local files that this was read from, those that were not there included."""
        return {path: found for run in self._found.values() for path, found in run.stamps.items()}

    def test(self, run_id: str) -> pa.Table | None:
        """Return the predictions on the test split: `id`, `group`, `prediction`, `reference` where known, a column per row-wise metric."""
        return self._found.get(run_id, RunEvidence()).table

    def curves(self, run_id: str) -> Curves:
        """Return the (step, value) pairs of every recorded curve; none where they could not be read."""
        return self._found.get(run_id, RunEvidence()).curves


def load_evidence(reader: RunReader, records: Iterable[RunRecord]) -> Evidence:
    """Read what report runs left, many at a time.

    Where artifacts lie in a folder of this machine they are read there; else they are fetched once and kept in the cache. A file that is
    missing or damaged costs the evidence of its run, and is told there.

    Args:
        reader: of the store that holds the runs.
        records: the report runs; those that did not finish, and those of other phases, have no predictions on the test split.
    """
    wanted = {record.run_id: record for record in records if record.delivered and record.status == "finished"}
    kept = BoundedFolder(cache_root() / "evidence", CACHE_BYTES)
    source = _Source(reader, kept)
    with ThreadPoolExecutor(THREADS) as pool:
        found = dict(zip(wanted, pool.map(source.evidence, wanted.values()), strict=True))
    if source.fetched:
        kept.prune()
    return Evidence(found)


class _Source:
    """Where the files of runs come from."""

    def __init__(self, reader: RunReader, cache: BoundedFolder) -> None:
        self._reader, self._cache = reader, cache
        self._away = Event()
        self.fetched = False

    def evidence(self, record: RunRecord) -> RunEvidence:
        """Return what a run left; never raises for what is wrong with its files."""
        names = (OUTCOME, PREDICTIONS)
        local = self._reader.artifact_folder(record.artifact_uri)
        stamps = {str(local / name): stamp(local / name) for name in (CHECKSUMS, *names)} if local else {}
        try:
            contents = checked(local, names, record) if local else self._fetched(names, record)
            curves = Outcome.model_validate_json(contents[OUTCOME]).curves
            table = split_rows(contents[PREDICTIONS], "test")
        except (FairsweepError, OSError, pa.ArrowException, ValidationError) as error:
            return RunEvidence(missing=_reason(error), is_passing=isinstance(error, AwayError), stamps=stamps)
        return RunEvidence(table, curves, stamps=stamps)

    def _fetched(self, names: Sequence[str], record: RunRecord) -> dict[str, bytes]:
        """Return the contents of files of a run, from the cache, or fetched and kept there."""
        key = " ".join([shown_uri(self._reader.uri), record.run_id, record.tags.get(schema.OUTCOME, "")])
        place = self._cache.folder / sha256(key.encode()).hexdigest()[:32]
        with suppress(OSError, StorageError):
            contents = checked(place, names, record)
            os.utime(place)
            return contents
        if self._away.is_set():
            raise AwayError("the tracking store stopped answering")
        with self._draft() as draft:
            try:
                for file in (CHECKSUMS, *names):
                    self._reader.fetch(record, file, draft)
            except AwayError:
                self._away.set()
                raise
            contents = checked(draft, names, record)
            shutil.rmtree(place, ignore_errors=True)
            with suppress(OSError):
                draft.rename(place)
                self.fetched = True
        return contents

    @contextmanager
    def _draft(self) -> Iterator[Path]:
        """Give a new folder, in the cache where that can be written, so that it can be renamed."""
        with suppress(OSError):
            self._cache.folder.mkdir(parents=True, exist_ok=True)
        parent = self._cache.folder if os.access(self._cache.folder, os.W_OK) else None
        draft = Path(mkdtemp(prefix=".", dir=parent))
        try:
            yield draft
        finally:
            shutil.rmtree(draft, ignore_errors=True)


def checked(folder: Path, names: Iterable[str], record: RunRecord) -> dict[str, bytes]:
    """Return the contents of files of a run.

    Args:
        folder: holds them, with their checksums.
        names: the files.
        record: the run, whose tag has the SHA-256 of outcome.json.

    Raises:
        StorageError: a file differs from its checksum, or the checksums are another Outcome's.
        OSError: a file is missing.
    """
    sums = parse_checksums((folder / CHECKSUMS).read_bytes(), folder.name)
    if sums.get(OUTCOME) != record.tags.get(schema.OUTCOME):
        raise StorageError(f"{CHECKSUMS} is not that of the Outcome that was delivered")
    contents = {name: (folder / name).read_bytes() for name in names}
    for name, content in contents.items():
        if sha256(content).hexdigest() != sums.get(name):
            raise StorageError(f"{name} does not match its checksum")
    return contents


def split_rows(content: bytes, split: str) -> pa.Table:
    """Return the rows of one split of a predictions.parquet.

    Raises:
        StorageError: a column or the split is missing.
        pa.ArrowException: it is no Parquet file.
    """
    table = pq.read_table(pa.BufferReader(content))
    if lacking := [name for name in COLUMNS if name not in table.column_names]:
        raise StorageError(f"{PREDICTIONS} has no column {', '.join(lacking)}")
    rows = table.filter(pc.equal(table["split"], split)).drop_columns(["split"])
    if not rows.num_rows:
        raise StorageError(f"{PREDICTIONS} has no row of the {split} split")
    return rows


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return f"{Path(error.filename or '').name} is missing among the run's artifacts"
    if isinstance(error, pa.ArrowException | ValidationError):
        return f"{PREDICTIONS if isinstance(error, pa.ArrowException) else OUTCOME} is damaged"
    return shown_uri(str(error))
