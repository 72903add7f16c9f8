"""Folders that are there whole or not at all, with checksums; of several attempts at one, the first to be whole wins.

On a file system a folder is written beside its place and renamed. An object store cannot rename: each attempt has a folder of its own
below the name, and counts once its checksums are there, which are written last.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from abc import ABC, abstractmethod
from contextlib import AbstractContextManager, nullcontext
from errno import EEXIST, ENOTEMPTY
from pathlib import Path

from trainers.storage import DamagedError, Storage, storage_error

CHECKSUMS = "SHA256SUMS"
"""Lists every file of a folder; names of files must not begin with a dot."""


class Folders(ABC):
    """The folders of one place in the storage, by name. Every failure is a StorageError.

    Attributes:
        place: where they are.
    """

    place: Storage

    @abstractmethod
    def names(self) -> list[str]:
        """Return the names of the folders that are there, in order."""

    @abstractmethod
    def staging(self, name: str, attempt: str) -> Path:
        """Make and return an empty folder of this machine in which an attempt collects the files of a folder."""

    @abstractmethod
    def publish(self, staging: Path, name: str, attempt: str) -> bool:
        """Bring what an attempt collected to its place, as a whole, and remove the staging folder.

        Returns:
            False when another attempt was first: this one is dropped.
        """

    @abstractmethod
    def read(self, name: str, file: str) -> bytes | None:
        """Return the content of a folder's file, or None where there is no such folder.

        Raises:
            DamagedError: the folder is.
        """

    @abstractmethod
    def checksum(self, name: str, file: str) -> str | None:
        """Return the SHA-256 of a folder's file, in hexadecimal, or None where there is no such folder."""

    @abstractmethod
    def files(self, name: str) -> AbstractContextManager[Path]:
        """Give a folder's files on this machine, all of them checked, for the length of a `with` block.

        Raises:
            DamagedError: there is no such folder, or it is damaged.
        """

    @abstractmethod
    def move(self, name: str, target: Storage) -> None:
        """Take a folder away, and keep its files at another place of the same storage."""

    @abstractmethod
    def remove(self, name: str) -> None:
        """Remove a folder with all attempts at it; fine when there is none."""

    @abstractmethod
    def sweep_up(self) -> list[str]:
        """Remove what attempts left that were interrupted or came late; return what was removed."""


class LocalFolders(Folders):
    """Folders of a file system: `<place>/<name>/`, staged as `<place>/.<name>.<attempt>/`."""

    def __init__(self, place: Storage) -> None:
        assert place.local is not None
        self.place, self.root = place, place.local

    def names(self) -> list[str]:
        """Return the folders' names; hidden ones are staged."""
        with self.place.guarded("list"):
            return sorted(p.name for p in self.root.iterdir() if not p.name.startswith(".") and p.is_dir()) if self.root.is_dir() else []

    def staging(self, name: str, attempt: str) -> Path:
        """Make the folder beside its place, on the same file system."""
        folder = self.root / f".{name}.{attempt}"
        with self.place.guarded("write"):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        return folder

    def publish(self, staging: Path, name: str, attempt: str) -> bool:
        """Rename the folder, which only the first attempt can."""
        try:
            write_checksums(staging)
            os.rename(staging, self._folder(name))
            _sync(self.root)
        except OSError as error:
            shutil.rmtree(staging, ignore_errors=True)
            if error.errno in (ENOTEMPTY, EEXIST):
                return False
            raise storage_error(self._folder(name), error) from error
        return True

    def read(self, name: str, file: str) -> bytes | None:
        """Read a file of a folder, all of which is checked."""
        folder = self._folder(name)
        if not folder.is_dir():
            return None
        verify(folder, file)
        return (folder / file).read_bytes()

    def checksum(self, name: str, file: str) -> str | None:
        """Compute the SHA-256 of a file as it is."""
        path = self._folder(name) / file
        return sha256(path) if path.is_file() else None

    def files(self, name: str) -> AbstractContextManager[Path]:
        """Give the folder itself."""
        verify(self._folder(name))
        return nullcontext(self._folder(name))

    def move(self, name: str, target: Storage) -> None:
        """Rename the folder."""
        assert target.local is not None
        with target.guarded("write"):
            target.local.parent.mkdir(parents=True, exist_ok=True)
            (self._folder(name)).rename(target.local)

    def remove(self, name: str) -> None:
        """Remove the folder."""
        shutil.rmtree(self._folder(name), ignore_errors=True)

    def sweep_up(self) -> list[str]:
        """Remove what is still staged."""
        left = [p for p in self.root.glob(".*") if p.is_dir()] if self.root.is_dir() else []
        for folder in left:
            shutil.rmtree(folder, ignore_errors=True)
        return [str(folder) for folder in left]

    def _folder(self, name: str) -> Path:
        folder = (self.place / name).local
        assert folder is not None
        return folder


def verify(folder: Path, *needed: str) -> None:
    """Compare a folder's files with its `SHA256SUMS`.

    Args:
        needed: files that must be among them.

    Raises:
        DamagedError: a file is missing or differs, or has no checksum.
    """
    sums = folder / CHECKSUMS
    if not sums.is_file():
        raise DamagedError(f"{folder} has no {CHECKSUMS}: it was not written by fairsweep, or is damaged")
    expected = parse_checksums(sums.read_bytes(), folder)
    # A list that was cut short must not let through what it no longer names.
    for name in {*needed, *_files(folder)} - expected.keys():
        raise damaged(folder / name, folder)
    for name, checksum in expected.items():
        if not (folder / name).is_file() or sha256(folder / name) != checksum:
            raise damaged(folder / name, folder)


def damaged(file: object, folder: object) -> DamagedError:
    """Return what to tell of a file that is missing or differs from what was written."""
    return DamagedError(f"{file} does not match its checksum. Fix: remove {folder} and run the sweep again")


def write_checksums(folder: Path) -> None:
    """Write the `SHA256SUMS` of a folder's files and bring all of them to the disk."""
    files = _files(folder)
    (folder / CHECKSUMS).write_text("".join(f"{sha256(folder / name)}  {name}\n" for name in files))
    for name in (*files, CHECKSUMS):
        _sync(folder / name)


def parse_checksums(content: bytes, folder: object) -> dict[str, str]:
    """Return the SHA-256 of each file that a `SHA256SUMS` lists.

    Raises:
        DamagedError: it is not such a file, or names one outside of its folder.
    """
    sums: dict[str, str] = {}
    for line in content.decode(errors="replace").splitlines():
        expected, _, name = line.partition("  ")
        if not expected or not name or name.startswith("/") or ".." in name.split("/"):
            raise damaged(f"{folder}/{CHECKSUMS}", folder)
        sums[name] = expected
    return sums


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _files(folder: Path) -> list[str]:
    """Return the relative paths of a folder's files; hidden ones, which a network file system may add, are left out."""
    paths = (path for path in sorted(folder.rglob("*")) if path.is_file() and not path.name.startswith(".") and path.name != CHECKSUMS)
    return [path.relative_to(folder).as_posix() for path in paths]


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
