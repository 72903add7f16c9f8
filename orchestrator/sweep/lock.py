"""One driver at a time runs a sweep: a file lock in a folder, a lease in an object store. Both name their holder."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from orchestrator.sweep.holder import Holder
from orchestrator.sweep.lease import Held, lease
from search_spaces.errors import BusyError, StorageError
from trainers.storage import Storage, storage_error

DRIVERS = "drivers"
"""Folder, in a sweep's, of a file for each driver that runs it, named for the run."""
NAMED_SECONDS = 5.0
"""How long a driver that finds the lock taken waits to learn by whom."""


@contextmanager
def sweep_lock(folder: Storage, started: float) -> Iterator[str]:
    """Hold a sweep's lock; give the path, relative to the sweep's folder, of a file that is there as long as it is held.

    The lock of a driver that dies falls by itself: the operating system lets go of a file's, and a lease that is not renewed runs out.

    Args:
        folder: the sweep's folder.
        started: Unix time in seconds, shown to whoever comes second.

    Raises:
        BusyError: another driver holds it; the message names that one.
        StorageError: the storage cannot be reached or written.
    """
    holder = Holder.this(started)
    claims, name = folder / DRIVERS, f"{holder.nonce}.json"
    try:
        with _file_lock(folder, claims, name, holder) if folder.local is not None else lease(claims, name, holder):
            yield f"{DRIVERS}/{name}"
    except Held as error:
        raise BusyError(
            f"sweep {folder.name!r} is already being run by {error}. Fix: wait for it to end, stop it, or give this sweep another name "
            "or --storage"
        ) from None


@contextmanager
def _file_lock(folder: Storage, claims: Storage, name: str, holder: Holder) -> Iterator[None]:
    assert folder.local is not None
    known, lock = folder / "driver.json", FileLock(folder.local / "driver.lock", timeout=0)
    try:
        with folder.guarded("write"):
            folder.local.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise Held(_named(known)) from None
    except NotImplementedError as error:
        raise StorageError(f"the file system of {folder} has no locks: {error}. Fix: mount it with locks, or pass --storage") from error
    except OSError as error:
        raise storage_error(folder, error) from error
    with lock:
        known.write(holder.to_json())
        # Whatever claims lie there are of drivers that are gone.
        claims.remove()
        (claims / name).write(holder.to_json())
        try:
            yield
        finally:
            (claims / name).remove()
            known.remove()


def _named(known: Storage) -> str:
    """Return who holds the lock; a driver that has only just taken it says so a moment later, over what a killed one may have left."""
    end = time.monotonic() + NAMED_SECONDS
    while (holder := Holder.parse(known.read())) is None and time.monotonic() < end:
        time.sleep(0.05)
    return str(holder or "another process")
