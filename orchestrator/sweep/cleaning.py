"""Removes what a sweep leaves besides its Outcomes."""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from orchestrator.sweep.lock import sweep_lock
from search_spaces.errors import UnknownNameError
from trainers.outcomes import OutcomeStore

LEFTOVERS = ("checkpoints", "set-aside")


def clean(storage: Path, sweep: str) -> list[str]:
    """Remove checkpoints, set-aside files and the remains of interrupted attempts; Outcomes stay.

    Returns:
        The removed folders.

    Raises:
        UnknownNameError: there is no such sweep in the storage.
        BusyError: the sweep is running.
    """
    folder = storage / sweep
    known = [path.name for path in storage.iterdir() if path.is_dir()] if storage.is_dir() else []
    if sweep not in known:
        raise UnknownNameError(f"sweep in {storage}", sweep, known)
    with sweep_lock(folder, time.time()):
        removed = OutcomeStore(folder / "outcomes").sweep_up()
        for name in LEFTOVERS:
            if (folder / name).is_dir():
                shutil.rmtree(folder / name)
                removed.append(folder / name)
    return [str(path) for path in removed]
