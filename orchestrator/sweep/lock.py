"""One driver at a time runs a sweep: a file lock that names its holder."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from search_spaces.errors import BusyError, StorageError


@contextmanager
def sweep_lock(folder: Path, started: float) -> Iterator[None]:
    """Hold a sweep's lock; the operating system lets go of it when the process dies, however that happens.

    Args:
        folder: the sweep's folder.
        started: Unix time in seconds, shown to whoever comes second.

    Raises:
        BusyError: another driver holds it; the message names that one.
    """
    holder, lock = folder / "driver.json", FileLock(folder / "driver.lock", timeout=0)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        since = datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds")
        holder.write_text(json.dumps({"host": socket.gethostname(), "process": os.getpid(), "since": since}))
    except OSError as error:
        if isinstance(error, Timeout):
            raise _busy(folder, holder) from None
        raise StorageError(f"cannot write {folder}: {error.strerror}. Fix: check its permissions, or pass --storage") from error
    try:
        yield
    finally:
        lock.release()


def _busy(folder: Path, holder: Path) -> BusyError:
    return BusyError(
        f"sweep {folder.name!r} is already being run by {_describe(holder)}. Fix: wait for it to end, stop it, or give this sweep "
        "another name or --storage"
    )


def _describe(holder: Path) -> str:
    try:
        found = json.loads(holder.read_text())
        return f"process {found['process']} on {found['host']} since {found['since']}"
    except (OSError, ValueError, KeyError):
        return "another process"
