"""Folders in an object store, where nothing can be renamed: `<place>/<name>/<attempt>/`, whole once its checksums are there.

Of several whole attempts the one whose checksums were written first, by the clock of the store, is the folder; of two in the same second
the one whose name sorts first. Every file of an attempt is in its own folder, so that no mixture of two can be read.
"""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

from trainers.folders import CHECKSUMS, Folders, damaged, parse_checksums, verify, write_checksums
from trainers.storage import AwayError, DamagedError, Storage, Stored, storage_error

PATIENCE_SECONDS = 120.0
"""How long a store that does not answer is asked again before an Outcome or a checkpoint is given up."""
T = TypeVar("T")


@dataclass(frozen=True)
class _Attempt:
    name: str
    files: frozenset[str]


class ObjectFolders(Folders):
    """Folders of an object store.

    What is whole stays as it is, so the attempt that a name stands for is looked up once; `names` looks up all of them with one listing.
    """

    def __init__(self, place: Storage) -> None:
        self.place = place
        self._known: dict[str, _Attempt] = {}

    def names(self) -> list[str]:
        """Return the names that have a whole attempt."""
        self._known = {name: first for name, attempts in self._all().items() if (first := _first(attempts)) is not None}
        return sorted(self._known)

    def staging(self, name: str, attempt: str) -> Path:
        """Make a temporary folder."""
        prefix = f"fairsweep-{name}-{attempt}-"
        try:
            return Path(tempfile.mkdtemp(prefix=prefix))
        except OSError as error:
            raise storage_error(f"{tempfile.gettempdir()}/{prefix}", error) from error

    def publish(self, staging: Path, name: str, attempt: str) -> bool:
        """Upload the files to a folder of the attempt, the checksums last; an attempt that finds another one whole withdraws."""
        target = self.place / name / attempt
        try:
            _write_checksums(staging)
            return _patiently(lambda: self._upload(staging, name, attempt, target))
        finally:
            shutil.rmtree(staging, ignore_errors=True)

    def _upload(self, staging: Path, name: str, attempt: str, target: Storage) -> bool:
        if self._look_up(name) is None:
            target.upload(staging, last=CHECKSUMS)
        first = self._look_up(name)
        if first is not None and first.name == attempt:
            return True
        target.remove()
        return False

    def read(self, name: str, file: str) -> bytes | None:
        """Fetch one file and check it, and that no other one is missing."""
        found = _patiently(lambda: self._sums(name))
        if found is None:
            return None
        folder, sums = found
        content = _patiently((folder.inside(file)).read)
        if content is None or hashlib.sha256(content).hexdigest() != sums.get(file):
            raise damaged(folder.inside(file), self.place / name)
        return content

    def checksum(self, name: str, file: str) -> str | None:
        """Return what the list of checksums says."""
        found = _patiently(lambda: self._sums(name))
        return None if found is None else found[1].get(file)

    @contextmanager
    def files(self, name: str) -> Iterator[Path]:
        """Fetch all files into a temporary folder and check them."""
        attempt = _patiently(lambda: self._attempt(name))
        if attempt is None:
            raise DamagedError(f"{self.place / name} does not exist, or is not whole")
        with tempfile.TemporaryDirectory(prefix=f"fairsweep-{name}-") as scratch:
            folder = Path(scratch)
            _patiently(lambda: (self.place / name / attempt.name).download(folder))
            try:
                verify(folder)
            except DamagedError as error:
                raise DamagedError(str(error).replace(scratch, str(self.place / name / attempt.name))) from None
            yield folder

    def move(self, name: str, target: Storage) -> None:
        """Let the store copy all attempts, then remove them."""
        _patiently(lambda: (self.place / name).copy(target))
        self.remove(name)

    def remove(self, name: str) -> None:
        """Remove all attempts."""
        self._known.pop(name, None)
        _patiently((self.place / name).remove)

    def sweep_up(self) -> list[str]:
        """Remove the attempts that are not whole, or were not first."""
        left = []
        for name, attempts in self._all().items():
            first = _first(attempts)
            left += [self.place / name / attempt for attempt in attempts if first is None or attempt != first.name]
        for folder in left:
            _patiently(folder.remove)
        return [str(folder) for folder in left]

    def _sums(self, name: str) -> tuple[Storage, dict[str, str]] | None:
        """Return the folder of a name and its checksums, or None where it is not whole; none of the files may be missing."""
        attempt = self._attempt(name)
        if attempt is None:
            return None
        folder = self.place / name / attempt.name
        sums = parse_checksums((folder / CHECKSUMS).read() or b"", folder)
        for file in attempt.files ^ {CHECKSUMS, *sums}:
            raise damaged(folder.inside(file), self.place / name)
        return folder, sums

    def _attempt(self, name: str) -> _Attempt | None:
        return self._known.get(name) or self._look_up(name)

    def _look_up(self, name: str) -> _Attempt | None:
        first = _first(_split((self.place / name).files()))
        if first is not None:
            self._known[name] = first
        return first

    def _all(self) -> dict[str, dict[str, dict[str, Stored]]]:
        """Return all files by name, attempt and relative path, from one listing."""
        return {name: _split(files) for name, files in _split(_patiently(self.place.files)).items()}


def _split(files: Mapping[str, Stored]) -> dict[str, dict[str, Stored]]:
    """Return files by the first part of their path."""
    parts: dict[str, dict[str, Stored]] = {}
    for path, stored in files.items():
        first, slash, rest = path.partition("/")
        if slash and rest:
            parts.setdefault(first, {})[rest] = stored
    return parts


def _first(attempts: Mapping[str, Mapping[str, Stored]]) -> _Attempt | None:
    """Return the attempt that was whole before the others, or None where none is."""
    whole = [(files[CHECKSUMS].written, name) for name, files in attempts.items() if CHECKSUMS in files]
    if not whole:
        return None
    name = min(whole)[1]
    return _Attempt(name, frozenset(attempts[name]))


def _write_checksums(staging: Path) -> None:
    try:
        write_checksums(staging)
    except OSError as error:
        raise storage_error(staging, error) from error


def _patiently(action: Callable[[], T]) -> T:
    """Do something again and again while the store is away, for a bounded time."""
    attempts = Retrying(
        retry=retry_if_exception_type(AwayError),
        wait=wait_exponential(min=0.5, max=10),
        stop=stop_after_delay(PATIENCE_SECONDS),
        reraise=True,
    )
    return attempts(action)
