"""Where sweeps are kept: a folder of this machine or a share, or a place in any object store that pyarrow's file systems reach.

Credentials come from the environment of each process, never from the URI: that one travels to workers, job descriptions and logs.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import socket
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

from pyarrow import ArrowException, fs

from search_spaces.errors import StorageError
from trainers.file_systems import file_system_of

FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of an operating system whose storage has no room."""
FULL_BUCKET = ("QuotaExceeded", "StorageFull", "InsufficientStorage", "HTTP status 507")
"""What object stores answer that have no room; S3 itself never does, those that one runs oneself do."""
AWAY = ("NETWORK_CONNECTION", "SLOW_DOWN", "THROTTLING", "SERVICE_UNAVAILABLE", "INTERNAL_FAILURE", "REQUEST_TIMEOUT", "HTTP status 50")
"""What pyarrow's errors say of a store that may answer a moment later."""
TRANSFERS = 8
"""Files that are copied to or from an object store at one time."""
_URI = re.compile(r"^[A-Za-z][A-Za-z0-9+.-]*:/")
_NAME = re.compile(r"^(?!\.\.?$)[^/\\\x00-\x1f]+$")


@dataclass(frozen=True)
class Stored:
    """A file in the storage.

    Attributes:
        size: bytes.
        written: when, by the clock of the storage; object stores give whole seconds.
    """

    size: int
    written: datetime


class Storage:
    """One place in the storage, as `pathlib.Path` is one in a file system: a folder or a file that is there or not.

    Every failure is a StorageError that names the place, without the query of its URI.

    Attributes:
        uri: what `at` takes, in another process as well.
        local: its path, where the storage is a folder of this machine; else None.
    """

    def __init__(self, file_system: Any, path: str, uri: str, local: Path | None = None) -> None:
        self._file_system, self._path, self.uri, self.local = file_system, path, uri, local

    @classmethod
    def at(cls, location: str | Path) -> Storage:
        """Return the place of a path or a URI, such as `sweeps`, `file:///data/sweeps` or `s3://bucket/sweeps?region=eu-west-1`.

        Raises:
            StorageError: the URI holds a secret, or pyarrow has no file system for it.
        """
        text = os.fspath(location)
        if isinstance(location, Path) or not _URI.match(text):
            return cls._of_folder(Path(text))
        if text.startswith("file:/"):
            return cls._of_folder(Path(unquote(urlsplit(text).path)))
        file_system, path = file_system_of(text)
        return cls(file_system, path.rstrip("/"), text)

    @classmethod
    def _of_folder(cls, folder: Path) -> Storage:
        folder = folder.absolute()
        return cls(fs.LocalFileSystem(), str(folder), str(folder), folder)

    def __truediv__(self, name: str) -> Storage:
        """Return a place inside this one.

        Raises:
            StorageError: the name is not one of a file or folder, such as `..` or one with a slash.
        """
        if not _NAME.match(name):
            raise StorageError(f"{name!r} names no file in {self}: it is empty, leads elsewhere, or has slashes or control codes")
        if self.local is not None:
            return self._of_folder(self.local / name)
        return Storage(self._file_system, f"{self._path}/{name}", _joined(self.uri, quote(name)))

    def inside(self, relative: str) -> Storage:
        """Return the place of a relative path with slashes, each part checked as a name."""
        place = self
        for name in relative.split("/"):
            place = place / name
        return place

    @property
    def parent(self) -> Storage:
        """The place that this one is in."""
        if self.local is not None:
            return self._of_folder(self.local.parent)
        parts = urlsplit(self.uri)
        return Storage(self._file_system, self._path.rpartition("/")[0], urlunsplit(parts._replace(path=parts.path.rpartition("/")[0])))

    @property
    def name(self) -> str:
        """The last part of its path."""
        return self._path.rpartition("/")[2]

    def __str__(self) -> str:
        return self.uri if self.local is not None else urlunsplit(urlsplit(self.uri)._replace(query="", fragment=""))

    def __repr__(self) -> str:
        return f"Storage({str(self)!r})"

    def read(self) -> bytes | None:
        """Return a file's content, or None where there is none."""
        try:
            with self.guarded("read"), self._file_system.open_input_stream(self._path) as file:
                return bytes(file.read())
        except MissingError:
            return None

    def write(self, content: bytes) -> None:
        """Write a file as a whole, in the place of an earlier one."""
        with self.guarded("write"):
            if self.local is not None:
                _replace(self.local, content)
                return
            with self._file_system.open_output_stream(self._path) as file:
                file.write(content)

    def names(self) -> list[str]:
        """Return the names of what lies directly inside, in order; none where nothing is there."""
        return sorted(info.base_name for info in self._listed(recursive=False))

    def files(self) -> dict[str, Stored]:
        """Return all files below, by path relative to this place; an object store answers a thousand of them with one request."""
        found = [info for info in self._listed(recursive=True) if info.type == fs.FileType.File]
        return {info.path[len(self._path) + 1 :]: Stored(info.size, info.mtime) for info in found}

    def upload(self, folder: Path, last: str) -> None:
        """Copy the files of a local folder to this place; one that fails leaves what was copied before it.

        Args:
            last: the file that is copied when all others are there.
        """
        paths = [path for path in sorted(folder.rglob("*")) if path.is_file()]
        pairs = [(path, self.inside(path.relative_to(folder).as_posix())) for path in paths]
        self._each([pair for pair in pairs if pair[0] != folder / last], _send)
        _send(folder / last, self / last)

    def download(self, folder: Path) -> None:
        """Copy all files below this place to a local folder."""
        self._each([(folder.joinpath(*name.split("/")), self.inside(name)) for name in self.files()], _fetch)

    def remove(self) -> None:
        """Remove a file, or a folder with all that is in it; fine where nothing is there."""
        with self.guarded("remove"):
            try:
                kind = self._file_system.get_file_info(self._path).type
                if kind == fs.FileType.Directory:
                    self._file_system.delete_dir(self._path)
                elif kind == fs.FileType.File:
                    self._file_system.delete_file(self._path)
            except FileNotFoundError:
                return

    def check(self) -> None:
        """Write a file, read it back and remove it, so that what is wrong with the storage shows before anything is trained.

        Raises:
            StorageError: it cannot be reached or written, or does not give back what was written.
        """
        probe, content = self / f".probe-{uuid.uuid4().hex[:8]}", uuid.uuid4().bytes
        probe.write(content)
        found = probe.read()
        probe.remove()
        if found != content:
            raise StorageError(f"{self} does not give back what was written to it a moment before. Fix: pass --storage of another place")

    def require(self, marker: str) -> None:
        """Make sure that this process sees a file that another machine keeps here.

        Args:
            marker: the file's path relative to this place.

        Raises:
            StorageError: it does not: the machines do not share the storage.
        """
        if self.inside(marker).read() is None:
            raise StorageError(
                f"{socket.gethostname()} does not see the driver's files in {self}: the storage is not shared. Fix: pass --storage of "
                "a folder that is mounted on every node, or a URI such as s3://BUCKET/FOLDER"
            )

    def _listed(self, *, recursive: bool) -> list[Any]:
        with self.guarded("list"):
            return list(self._file_system.get_file_info(fs.FileSelector(self._path, recursive=recursive, allow_not_found=True)))

    def _each(self, pairs: list[tuple[Path, Storage]], copy: Callable[[Path, Storage], None]) -> None:
        with ThreadPoolExecutor(TRANSFERS) as pool:
            for done in [pool.submit(copy, path, place) for path, place in pairs]:
                done.result()

    def copy(self, target: Storage) -> None:
        """Copy all files below this place to another one of the same storage, where an object store copies them itself."""
        for name in self.files():
            source, copied = self.inside(name), target.inside(name)
            with copied.guarded("write"):
                self._file_system.copy_file(source._path, copied._path)

    @contextmanager
    def guarded(self, action: str) -> Iterator[None]:
        """Turn errors of the file system within the block into a StorageError.

        Args:
            action: what is attempted, as a verb.
        """
        try:
            yield
        except FileNotFoundError as error:
            raise MissingError(f"{self} does not exist") from error
        except (OSError, ArrowException) as error:
            raise storage_error(self, error, action) from error


class MissingError(StorageError):
    """There is no such file."""


class DamagedError(StorageError):
    """Files that are not what was written."""


class AwayError(StorageError):
    """The storage does not answer, or asks to be spared; it may do better a moment later."""


def storage_error(place: object, error: Exception, action: str = "write") -> StorageError:
    """Return what to tell the user when the storage cannot be used.

    Args:
        action: what was attempted, as a verb.
    """
    text = getattr(error, "strerror", None) or str(error)
    if getattr(error, "errno", None) in FULL or any(mark in text for mark in FULL_BUCKET):
        return StorageError(
            f"no space left at {place}. Nothing recorded is lost. Fix: free space there, or move the sweep's folder and pass --storage, "
            "then run the same command again"
        )
    kind = AwayError if any(mark in text for mark in AWAY) else StorageError
    return kind(f"cannot {action} {place}: {text.splitlines()[0]}. Fix: {_fix(text)}, or pass --storage")


def _fix(text: str) -> str:
    if "NO_SUCH_BUCKET" in text:
        return "make the bucket, or check its name"
    if any(mark in text for mark in AWAY):
        return "check the network, and the region or endpoint_override in the URI"
    if any(mark in text for mark in ("ACCESS_DENIED", "INVALID_ACCESS_KEY", "SIGNATURE", "Unauthorized", "credentials")):
        return "set the credentials in the environment of every machine (for S3 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"
    return "check its permissions"


def _joined(uri: str, name: str) -> str:
    parts = urlsplit(uri)
    return urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/{name}"))


def _replace(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}")
    try:
        with draft.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


def _send(path: Path, target: Storage) -> None:
    with target.guarded("write"), path.open("rb") as source, target._file_system.open_output_stream(target._path) as sink:
        shutil.copyfileobj(source, sink, 2**20)


def _fetch(path: Path, source: Storage) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with source.guarded("read"), source._file_system.open_input_stream(source._path) as stream, path.open("wb") as sink:
        shutil.copyfileobj(stream, sink, 2**20)
