"""Boards as documents, kept until their sweep changes: one computation at a time, and nobody waits for long."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from typing import Any

from orchestrator.leaderboard.page.embedding import embedded

Document = Mapping[str, Any]


class Busy(Exception):
    """The first document of a sweep is still being computed."""


@dataclass(frozen=True, eq=False)
class Snapshot:
    """A board at one state of its sweep."""

    state: str
    document: Document
    made: float
    """By the clock of its `Snapshots`."""

    @cached_property
    def digest(self) -> str:
        """Digest of the document."""
        return sha256(embedded(self.document).encode()).hexdigest()


class Snapshots:
    """Gives the newest snapshot that can be had soon.

    Args:
        most: how many snapshots are kept, the least recently asked for are dropped.
        patience_seconds: how long a request waits for a new snapshot where an older one is there.
        first_seconds: how long it waits where there is none.
        waiting: how many requests may wait at once, so that threads are left for everything else that the server does.
        renewed_seconds: after this time a snapshot is made anew though its state is the same: files that could not be had may be there now.
        clock: tells the time in seconds.
    """

    def __init__(
        self,
        most: int = 16,
        *,
        patience_seconds: float = 0.5,
        first_seconds: float = 15.0,
        waiting: int = 8,
        renewed_seconds: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._most, self._patience, self._first = most, patience_seconds, first_seconds
        self._renewed, self._clock = renewed_seconds, clock
        self._lock, self._turn, self._seats = threading.Lock(), threading.Lock(), threading.BoundedSemaphore(waiting)
        self._kept: OrderedDict[str, Snapshot] = OrderedDict()
        self._begun: dict[str, Future[Snapshot]] = {}

    def get(self, key: str, state: str, compute: Callable[[], Document]) -> Snapshot:
        """Return the snapshot of a state, or an older one while it is being computed.

        Args:
            key: what is computed, such as an experiment.
            state: fingerprint of what the computation depends on, taken before it.

        Raises:
            Busy: there is no older one, and the computation takes longer.
            Exception: what the computation raised.
        """
        with self._lock:
            kept = self._kept.get(key)
            if kept is not None:
                self._kept.move_to_end(key)
                if kept.state == state and self._clock() - kept.made < self._renewed:
                    return kept
            future = self._begun.get(key) or self._begin(key, state, compute)
        return self._waited(future, kept)

    def _waited(self, future: Future[Snapshot], kept: Snapshot | None) -> Snapshot:
        seated = self._seats.acquire(blocking=False)
        try:
            return future.result(timeout=(self._first if kept is None else self._patience) if seated else 0)
        except TimeoutError:
            if kept is None:
                raise Busy("The board is being computed for the first time.") from None
            return kept
        finally:
            if seated:
                self._seats.release()

    def _begin(self, key: str, state: str, compute: Callable[[], Document]) -> Future[Snapshot]:
        future: Future[Snapshot] = Future()
        self._begun[key] = future
        threading.Thread(target=self._run, args=(key, state, compute, future), name=f"board-{key}", daemon=True).start()
        return future

    def _run(self, key: str, state: str, compute: Callable[[], Document], future: Future[Snapshot]) -> None:
        try:
            with self._turn:
                snapshot = Snapshot(state, compute(), self._clock())
        except BaseException as error:  # noqa: BLE001  raised again by those who wait
            self._end(key, None)
            future.set_exception(error)
            return
        self._end(key, snapshot)
        future.set_result(snapshot)

    def _end(self, key: str, snapshot: Snapshot | None) -> None:
        with self._lock:
            del self._begun[key]
            if snapshot is not None:
                self._kept[key] = snapshot
                self._kept.move_to_end(key)
            while len(self._kept) > self._most:
                self._kept.popitem(last=False)
