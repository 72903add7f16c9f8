"""The store of Outcomes: one folder per trial, there whole or not at all, checksummed. The truth that everything else follows from."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from search_spaces.errors import StorageError
from search_spaces.trial import Trial
from trainers.folders import Folders, LocalFolders
from trainers.object_folders import ObjectFolders
from trainers.redaction import redacted
from trainers.results import Outcome
from trainers.storage import DamagedError, Storage

READERS = 16
"""Outcomes that are read from an object store at one time: most of the time of one is waiting."""
T = TypeVar("T")


class OutcomeStore:
    """Reads and writes `<storage>/<sweep>/outcomes/<trial id>/`.

    A folder holds `trial.json`, `outcome.json`, `SHA256SUMS` and, for a finished trial, `predictions.parquet` and `adapter/`. In an object
    store they lie one level deeper, in a folder of the attempt (see `trainers.object_folders`).

    Args:
        root: the folder `outcomes`.
    """

    def __init__(self, root: Storage | str | Path) -> None:
        self.root = root if isinstance(root, Storage) else Storage.at(root)
        self._folders = folders_at(self.root)

    def folder(self, trial_id: str) -> Path:
        """Return the folder that a trial's Outcome has, or will have, in a storage of this machine.

        Raises:
            StorageError: the storage is elsewhere; `files` fetches a copy.
        """
        place = self.root / trial_id
        if place.local is None:
            raise StorageError(f"{place} is not a folder of this machine")
        return place.local

    def ids(self) -> Iterator[str]:
        """Yield the ids of the trials that have an Outcome; one listing, however many they are."""
        yield from self._folders.names()

    def staging(self, trial_id: str, attempt: str) -> Path:
        """Make and return the folder of this machine in which an attempt collects its files before `commit`."""
        return self._folders.staging(trial_id, attempt)

    def commit(self, trial: Trial, outcome: Outcome, staging: Path | None = None) -> bool:
        """Publish an Outcome with the files of its staging folder; the first to be whole wins.

        Returns:
            False when the trial already had an Outcome: this one is dropped.

        Raises:
            StorageError: the storage is full or cannot be written; nothing is published then.
        """
        staging = staging or self.staging(trial.id, outcome.attempt)
        with Storage.at(staging).guarded("write"):
            (staging / "trial.json").write_text(trial.model_dump_json(indent=1))
            (staging / "outcome.json").write_text(_without_secrets(outcome).model_dump_json(indent=1))
        return self._folders.publish(staging, trial.id, outcome.attempt)

    def read(self, trial_id: str) -> Outcome | None:
        """Return a trial's Outcome, or None where there is none.

        In an object store the other files of the folder are checked when `files` fetches them; here it is checked that they are there.

        Raises:
            DamagedError: the Outcome is there but damaged.
        """
        content = self._folders.read(trial_id, "outcome.json")
        return None if content is None else self._parsed(Outcome.model_validate_json, trial_id, "outcome.json", content)

    def read_each(self, trial_ids: Iterable[str], read: Callable[[str], T]) -> dict[str, T]:
        """Return what `read` says of each trial that has an Outcome; several at one time where each has to be waited for.

        Args:
            read: `OutcomeStore.read`, or what handles its errors.
        """
        present = set(self.ids())
        wanted = [trial_id for trial_id in trial_ids if trial_id in present]
        if self.root.local is not None:
            return {trial_id: read(trial_id) for trial_id in wanted}
        with ThreadPoolExecutor(READERS) as pool:
            return dict(zip(wanted, pool.map(read, wanted), strict=True))

    def trial(self, trial_id: str) -> Trial:
        """Return the Trial that an Outcome belongs to.

        Raises:
            StorageError: there is no Outcome, or it is damaged.
        """
        content = self._folders.read(trial_id, "trial.json")
        if content is None:
            raise StorageError(f"{self.root / trial_id} does not exist: trial {trial_id} has no Outcome")
        return self._parsed(Trial.model_validate_json, trial_id, "trial.json", content)

    def digest(self, trial_id: str) -> str | None:
        """Return the SHA-256, in hexadecimal, of a trial's outcome.json, or None where there is none."""
        return self._folders.checksum(trial_id, "outcome.json")

    def files(self, trial_id: str) -> AbstractContextManager[Path]:
        """Give the files of an Outcome on this machine, checked, for the length of a `with` block.

        Raises:
            StorageError: there is no Outcome, or it is damaged.
        """
        return self._folders.files(trial_id)

    def set_aside(self, trial_id: str, why: str) -> Storage:
        """Move a damaged or rejected Outcome out of the way, keeping its files; return where it went."""
        aside = self.root.parent / "set-aside"
        there, number = set(aside.names()), 1
        while f"{trial_id}.{why}.{number}" in there:
            number += 1
        kept = aside / f"{trial_id}.{why}.{number}"
        self._folders.move(trial_id, kept)
        return kept

    def sweep_up(self) -> list[str]:
        """Remove what interrupted attempts left; return the removed folders. Call it only while holding the sweep's lock."""
        return self._folders.sweep_up()

    def _parsed(self, parse: Callable[[bytes], T], trial_id: str, file: str, content: bytes) -> T:
        try:
            return parse(content)
        except ValidationError as error:
            raise DamagedError(f"{self.root / trial_id}/{file} is not of this version: {error}") from error


def _without_secrets(outcome: Outcome) -> Outcome:
    """Return an Outcome whose error text names no password: libraries put whatever they were given into theirs."""
    return outcome.model_copy(update={"error": redacted(outcome.error)}) if outcome.error else outcome


def folders_at(place: Storage) -> Folders:
    """Return the folders of a place, in the way of its kind of storage."""
    return ObjectFolders(place) if place.local is None else LocalFolders(place)
