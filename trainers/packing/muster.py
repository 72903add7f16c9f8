"""Cohorts: trials that are to begin together in one pack, so that their first step is a joint one."""

from __future__ import annotations

import threading
import time

PATIENCE_SECONDS = 45.0
"""How long the lanes that are there wait for the others of their cohort: a hand-out may have been lost."""


class Muster:
    """Knows which cohorts are not complete yet."""

    def __init__(self, patience_seconds: float = PATIENCE_SECONDS) -> None:
        self._patience = patience_seconds
        self._lock = threading.Lock()
        self._missing: dict[str, int] = {}
        self._deadlines: dict[str, float] = {}

    def arrive(self, name: str, size: int) -> None:
        """Note that a lane of a cohort is there."""
        with self._lock:
            if name not in self._deadlines:
                self._missing[name], self._deadlines[name] = size, time.monotonic() + self._patience
            if name in self._missing:
                self._missing[name] -= 1

    def complete(self) -> bool:
        """Tell whether no lane is waited for."""
        with self._lock:
            now = time.monotonic()
            self._missing = {name: missing for name, missing in self._missing.items() if missing > 0 and now < self._deadlines[name]}
            # A lane that comes too late must not be taken for the first of its cohort.
            lasting = now - 10 * self._patience
            self._deadlines = {name: end for name, end in self._deadlines.items() if end > lasting}
            return not self._missing
