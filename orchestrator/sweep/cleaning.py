"""Removes what a sweep leaves besides its Outcomes."""

from __future__ import annotations

import time

from orchestrator.sweep.lock import sweep_lock
from search_spaces.errors import UnknownNameError
from trainers.outcomes import OutcomeStore
from trainers.results import RUNGS
from trainers.storage import Storage

LEFTOVERS = ("checkpoints", RUNGS, "set-aside")


def clean(storage: str, sweep: str) -> list[str]:
    """Remove checkpoints, what trials left at rungs, set-aside files and the remains of interrupted attempts; Outcomes stay.

    Args:
        storage: path or URI of the place of all sweeps.

    Returns:
        The removed folders.

    Raises:
        UnknownNameError: there is no such sweep in the storage.
        StorageError: the storage cannot be used.
        BusyError: the sweep is running.
    """
    sweeps = Storage.at(storage)
    known = sweeps.names()
    if sweep not in known:
        raise UnknownNameError(f"sweep in {sweeps}", sweep, known)
    folder = sweeps / sweep
    with sweep_lock(folder, time.time()):
        removed = OutcomeStore(folder / "outcomes").sweep_up()
        there = folder.names()
        for name in LEFTOVERS:
            if name in there:
                (folder / name).remove()
                removed.append(str(folder / name))
    return removed
