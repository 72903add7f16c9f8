"""Keeps the records of runs in a process that reads them again and again, such as a server.

All runs are read each time, and one that says what it said before is given as the same object: its Trial and Outcome, which take longer
to make than to read, are there already. So nothing can be stale: a run that was deleted is not given, one that was edited is another.
"""

from __future__ import annotations

from collections.abc import Iterable
from threading import Lock

from orchestrator.tracking.run_record import RunRecord

MOST_RUNS = 50_000
"""Runs that are kept in all; each takes about 10 kB."""


class RunCache:
    """The records of the experiments that were read last, from the second time on: a command reads once.

    Args:
        most: runs that are kept in all; an experiment with more is not kept.
    """

    def __init__(self, most: int = MOST_RUNS) -> None:
        self._most, self._lock = most, Lock()
        self._known: dict[str, dict[str, RunRecord]] = {}

    def renewed(self, experiment: str, records: Iterable[RunRecord]) -> list[RunRecord]:
        """Return the records, each as the object that was given before where that one says the same.

        Args:
            experiment: which one, of which store.
            records: all live runs of it, as they were just read.
        """
        with self._lock:
            before = self._known.pop(experiment, None)
            if before is None:
                self._known[experiment] = {}
                return list(records)
        now = {record.run_id: _older(before.get(record.run_id), record) for record in records}
        with self._lock:
            self._known[experiment] = now
            while sum(map(len, self._known.values())) > self._most:
                self._known[next(name for name, runs in self._known.items() if runs)] = {}
        return list(now.values())


def _older(before: RunRecord | None, now: RunRecord) -> RunRecord:
    return before if before is not None and before == now else now


RUNS = RunCache()
"""Of this process."""
