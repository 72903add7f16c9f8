"""The store of Outcomes: one folder per trial, written whole or not at all, checksummed. The truth that everything else follows from."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from search_spaces.errors import StorageError
from search_spaces.trial import Trial
from trainers.results import Outcome

CHECKSUMS = "SHA256SUMS"
FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of an operating system whose storage has no room."""


class OutcomeStore:
    """Reads and writes `<storage>/<sweep>/outcomes/<trial id>/`.

    A folder holds `trial.json`, `outcome.json`, `SHA256SUMS` and, for a finished trial, `predictions.parquet` and `adapter/`.
    """

    def __init__(self, root: Path) -> None:
        self.root = Path(root)

    def folder(self, trial_id: str) -> Path:
        """Return the folder that a trial's Outcome has, or will have."""
        return self.root / trial_id

    def ids(self) -> Iterator[str]:
        """Yield the ids of the trials that have an Outcome."""
        if self.root.is_dir():
            yield from sorted(p.name for p in self.root.iterdir() if not p.name.startswith(".") and p.is_dir())

    def staging(self, trial_id: str, attempt: str) -> Path:
        """Make and return the folder in which an attempt collects its files before `commit`."""
        folder = self.root / f".{trial_id}.{attempt}"
        with _ReadableErrors(folder):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        return folder

    def commit(self, trial: Trial, outcome: Outcome, staging: Path | None = None) -> bool:
        """Publish an Outcome with the files of its staging folder; the first to arrive wins.

        Returns:
            False when the trial already had an Outcome: this one is dropped.

        Raises:
            StorageError: the storage is full or cannot be written; nothing is published then.
        """
        staging = staging or self.staging(trial.id, outcome.attempt)
        target = self.folder(trial.id)
        with _ReadableErrors(target):
            (staging / "trial.json").write_text(trial.model_dump_json(indent=1))
            (staging / "outcome.json").write_text(outcome.model_dump_json(indent=1))
            write_checksums(staging)
            try:
                os.rename(staging, target)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise
                shutil.rmtree(staging, ignore_errors=True)
                return False
            _sync(self.root)
        return True

    def read(self, trial_id: str) -> Outcome | None:
        """Return a trial's Outcome, or None where there is none.

        Raises:
            StorageError: the Outcome is there but damaged.
        """
        folder = self.folder(trial_id)
        if not folder.is_dir():
            return None
        verify(folder)
        try:
            return Outcome.model_validate_json((folder / "outcome.json").read_text())
        except ValidationError as error:
            raise StorageError(f"{folder}/outcome.json is not an Outcome of this version: {error}") from error

    def trial(self, trial_id: str) -> Trial:
        """Return the Trial that an Outcome belongs to."""
        return Trial.model_validate_json((self.folder(trial_id) / "trial.json").read_text())

    def set_aside(self, trial_id: str, why: str) -> Path:
        """Move a damaged or rejected Outcome out of the way, keeping its files; return where it went."""
        folder = self.folder(trial_id)
        kept = self.root.parent / "set-aside" / f"{trial_id}.{why}"
        kept.parent.mkdir(parents=True, exist_ok=True)
        number = 1
        while kept.with_name(f"{kept.name}.{number}").exists():
            number += 1
        return folder.rename(kept.with_name(f"{kept.name}.{number}"))

    def sweep_up(self) -> list[Path]:
        """Remove what interrupted attempts left; return the removed folders. Call it only while holding the sweep's lock."""
        left = [p for p in self.root.glob(".*") if p.is_dir()] if self.root.is_dir() else []
        for folder in left:
            shutil.rmtree(folder, ignore_errors=True)
        return left


def verify(folder: Path) -> None:
    """Compare a folder's files with its `SHA256SUMS`.

    Raises:
        StorageError: a file is missing or differs.
    """
    sums = folder / CHECKSUMS
    if not sums.is_file():
        raise StorageError(f"{folder} has no {CHECKSUMS}: it was not written by fairsweep, or is damaged")
    for line in sums.read_text().splitlines():
        expected, _, name = line.partition("  ")
        path = folder / name
        if not path.is_file() or _sha256(path) != expected:
            raise StorageError(f"{path} does not match its checksum. Fix: remove {folder} and run the sweep again")


def write_checksums(folder: Path) -> None:
    """Write the `SHA256SUMS` of a folder's files and bring all of them to the disk."""
    files = sorted(p for p in folder.rglob("*") if p.is_file() and p.name != CHECKSUMS)
    (folder / CHECKSUMS).write_text("".join(f"{_sha256(p)}  {p.relative_to(folder).as_posix()}\n" for p in files))
    for path in (*files, folder / CHECKSUMS):
        _sync(path)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


class _ReadableErrors:
    """Turns an operating-system error of the storage into a StorageError that says what to do."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, OSError):
            raise storage_error(self.path, error) from error


def storage_error(path: Path, error: OSError) -> StorageError:
    """Return what to tell the user when the storage cannot be written."""
    if error.errno in FULL:
        return StorageError(
            f"no space left at {path}. Nothing recorded is lost. Fix: free space there, or move the sweep's folder and pass --storage, "
            "then run the same command again"
        )
    return StorageError(f"cannot write {path}: {error.strerror}. Fix: check its permissions, or pass --storage")
