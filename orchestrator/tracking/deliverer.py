"""Delivery in the background: training never waits for the tracking store."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Self, TypeVar

from tenacity import (
    RetryCallState,
    Retrying,
    retry_if_exception_type,
    sleep_using_event,
    stop_when_event_set,
    wait_random_exponential,
)
from tenacity.stop import stop_base

from orchestrator.tracking.connection import AwayError
from orchestrator.tracking.delivery import Tracker
from trainers.outcomes import OutcomeStore

log = logging.getLogger(__name__)
T = TypeVar("T")

SWEEP_RUN, BACKLOG = "sweep", "backlog"
"""Keys, among what waits for delivery, of the sweep run and of the comparison of the store with MLflow."""
ATTEMPTS = 8
"""How often something is tried in a row while the server answers, but with an error; then it is the turn of what comes after it."""


class Deliverer:
    """Delivers Outcomes from a thread of its own, in the order of their arrival, and tries again for as long as the server is away.

    It begins with everything in the store that MLflow lacks. Use it as a context manager, or call `start` and `close`.

    Args:
        longest_wait: seconds between two attempts, at most.
    """

    def __init__(self, tracker: Tracker, store: OutcomeStore, longest_wait: float = 60.0) -> None:
        self._tracker, self._store = tracker, store
        self._queue: SimpleQueue[tuple[str, Callable[[], object]] | None] = SimpleQueue()
        self._lock = Lock()
        self._backlog: tuple[str, ...] = ()
        self._waiting: dict[str, int] = {}
        self._failures: dict[str, Exception] = {}
        self._away: Exception | None = None
        self._trials: set[str] = set()
        """The keys that are trials, among those of other work."""
        self._doubtful: set[str] = set()
        """Trials of which a request went unanswered: the server may carry it out late, and make a run that nobody knows of."""
        self._given_up = Event()
        self._thread = Thread(target=self._work, name="mlflow-delivery", daemon=True)
        self._wait = wait_random_exponential(multiplier=min(1.0, longest_wait), max=longest_wait)

    def start(self) -> Self:
        """Begin, with what earlier runs left undelivered; returns at once."""
        self._backlog = tuple(self._store.ids())
        for trial_id in self._backlog:
            self._expect(trial_id)
        self._thread.start()
        return self

    def put(self, trial_id: str) -> None:
        """Hand over a trial whose Outcome is in the store; never waits."""
        self._trials.add(trial_id)
        self.put_action(trial_id, partial(self._tracker.deliver, self._store, trial_id))

    def put_sweep(self, documents: Mapping[str, str], status: str, now: float, tags: Mapping[str, str] | None = None) -> None:
        """Hand over the state of the sweep run (see `Tracker.deliver_sweep`); never waits."""
        self.put_action(SWEEP_RUN, partial(self._tracker.deliver_sweep, documents, status, now, tags))

    def put_action(self, key: str, action: Callable[[], object]) -> None:
        """Hand over a piece of work that may be done twice; never waits.

        Args:
            key: what `undelivered` calls it.
            action: what to do; an AwayError lets it be done again later.
        """
        self._expect(key)
        self._queue.put((key, action))

    def close(self, timeout: float) -> tuple[str, ...]:
        """Deliver what waits, for at most `timeout` seconds; return what is not delivered. A second call returns the same.

        What is left lies in the store, and the next run delivers it.
        """
        if self._thread.is_alive() and not self._given_up.is_set():
            self._queue.put(None)
            self._thread.join(timeout)
            self._given_up.set()
        return self.undelivered()

    def undelivered(self) -> tuple[str, ...]:
        """Return the ids that wait or were refused; `sweep` stands for the sweep run."""
        with self._lock:
            return tuple(dict.fromkeys(key for key in (*self._waiting, *self._failures) if key != BACKLOG))

    def failures(self) -> dict[str, Exception]:
        """Return what was refused and is not tried again, with the reason."""
        with self._lock:
            return dict(self._failures)

    @property
    def away(self) -> Exception | None:
        """Why the tracking store does not answer at the moment; None when it does."""
        return self._away

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.close(timeout=60)

    def _work(self) -> None:
        self._deliver_backlog()
        while (item := self._queue.get()) is not None:
            self._attempt(*item)
        while not self._queue.empty() and (item := self._queue.get()) is not None and not self._given_up.is_set():
            self._attempt(*item)
        for trial_id in sorted(self._doubtful):
            self._attempt(BACKLOG, partial(self._tracker.reconcile_trial, trial_id))

    def _deliver_backlog(self) -> None:
        delivered = self._attempt(BACKLOG, self._tracker.reconcile)
        if delivered is None:
            return
        self._trials.update(self._backlog)
        for trial_id in self._backlog:
            self._attempt(trial_id, partial(self._catch_up, trial_id, delivered.get(trial_id)))

    def _catch_up(self, trial_id: str, delivered: str | None) -> None:
        """Deliver an Outcome that was there at the start, unless MLflow holds it, or it was set aside to run again meanwhile."""
        if self._store.digest(trial_id) not in (None, delivered):
            self._tracker.deliver(self._store, trial_id)

    def _attempt(self, key: str, action: Callable[[], T]) -> T | None:
        """Do one piece of work, again and again while the server is away; None when it was not done."""
        if self._given_up.is_set():
            return None
        try:
            result = self._retrying(key)(action)
        except AwayError:
            if not self._given_up.is_set():
                self._queue.put((key, action))
            return None
        except Exception as error:  # noqa: BLE001 - one Outcome that cannot be delivered is recorded and must not hold up the others
            log.error("not delivered to MLflow: %s: %s", key, error)
            with self._lock:
                self._failures[key] = error
            result = None
        else:
            self._away = None
            with self._lock:
                self._failures.pop(key, None)
        self._done(key)
        return result

    def _retrying(self, key: str) -> Retrying:
        given_up = stop_when_event_set(self._given_up)
        return Retrying(
            retry=retry_if_exception_type(AwayError),
            stop=given_up if key == BACKLOG else given_up | _AnotherTurn(),
            wait=self._wait,
            sleep=sleep_using_event(self._given_up),
            before_sleep=partial(self._note_away, key),
            reraise=True,
        )

    def _note_away(self, key: str, state: RetryCallState) -> None:
        error = state.outcome.exception() if state.outcome else None
        if self._away is None:
            log.warning("%s", error)
        self._away = error if isinstance(error, Exception) else None
        if key in self._trials:
            self._doubtful.add(key)

    def _expect(self, key: str) -> None:
        with self._lock:
            self._waiting[key] = self._waiting.get(key, 0) + 1

    def _done(self, key: str) -> None:
        with self._lock:
            left = self._waiting.pop(key, 0) - 1
            if left > 0:
                self._waiting[key] = left


class _AnotherTurn(stop_base):
    """Stops trying what the server answers with errors, a number of times in a row."""

    def __call__(self, retry_state: RetryCallState) -> bool:
        error = retry_state.outcome.exception() if retry_state.outcome else None
        return isinstance(error, AwayError) and error.answered and retry_state.attempt_number >= ATTEMPTS
