"""The processes that the harness started, and those below them: it ends these, by id, and no others."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable

import psutil


class Ledger:
    """Remembers processes by id and time of creation, so that an id which went to another process is never taken for the first."""

    def __init__(self) -> None:
        self._known: dict[int, psutil.Process] = {}

    def note(self, process_id: int) -> None:
        """Remember a process and what runs below it now; after its death its children could not be found any more."""
        with contextlib.suppress(psutil.NoSuchProcess):
            root = psutil.Process(process_id)
            for process in (root, *root.children(recursive=True)):
                self._known.setdefault(process.pid, process)

    def alive(self) -> list[psutil.Process]:
        """Return those that run."""
        return [process for process in self._known.values() if alive(process)]

    def end(self, timeout_seconds: float = 60) -> None:
        """End those that run, and wait for it."""
        end(self.alive(), timeout_seconds)


def alive(process: psutil.Process) -> bool:
    """Tell whether a process runs: it is there, and not just waiting for its parent to note its end."""
    with contextlib.suppress(psutil.NoSuchProcess):
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    return False


def end(processes: Iterable[psutil.Process], timeout_seconds: float = 60) -> None:
    """Kill processes and wait until they are gone."""
    processes = list(processes)
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    deadline = time.monotonic() + timeout_seconds
    while any(map(alive, processes)) and time.monotonic() < deadline:
        # Their exit codes are for those who started them.
        time.sleep(0.02)
