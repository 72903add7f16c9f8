"""The fleet: groups of actors that hold a base model and stay alive between trials. What they run is handed in by name."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import ray

from cluster.group import Closed, Group, wait_until_gone
from cluster.resources import ResourcesError, TrialResources
from search_spaces.errors import FairsweepError

log = logging.getLogger(__name__)

State = Literal["waiting", "preparing", "ready", "failed"]

ATTEMPTS = 3
"""How often a group is started that fails while it starts, one time after another."""
PLACEMENT_SECONDS = 600.0
"""How long a sweep without any group waits for a place in the cluster."""
QUIET_SECONDS = 30.0
"""How long a group may wait for a place before that is logged."""


class Fleet:
    """The groups of one sweep, owned by its driver: they end with it.

    Each group is started, formed and prepared in a thread of its own, so that one whose node is gone, and which waits for a place, holds up
    nobody: the sweep goes on with the others, and takes the group in when its node is back.

    Args:
        factory: of the members' worker, as `module:name`.
        arguments: keyword arguments of the factory.
        resources: what a group reserves.
        lanes: how many jobs a group runs at once.
    """

    def __init__(self, factory: str, arguments: Mapping[str, Any], resources: TrialResources, lanes: int = 1) -> None:
        self._factory, self._arguments, self._resources, self._lanes = factory, dict(arguments), resources, lanes
        self._name = f"fairsweep-{uuid.uuid4().hex[:12]}"
        self._groups: dict[int, Group] = {}
        self._states: dict[int, State] = {}
        self._changed = threading.Condition()
        self._since = time.monotonic()
        self._closed = threading.Event()
        self._threads: list[threading.Thread] = []
        self.failure: Exception | None = None
        """What the last group failed of that was given up."""

    def __len__(self) -> int:
        return len(self._states)

    def start(self, number: int, preparation: Sequence[Any] | None) -> None:
        """Start a group, or start one anew: end its processes, place, form and prepare it in the background.

        Args:
            preparation: arguments of the worker's `prepare`; None when there is nothing to prepare.
        """
        with self._changed:
            before = self._groups.pop(number, None)
            self._states[number] = "waiting"
        if before is not None:
            before.end()
        thread = threading.Thread(target=self._bring_up, args=(number, preparation), name=f"group-{number}", daemon=True)
        self._threads = [*(thread for thread in self._threads if thread.is_alive()), thread]
        thread.start()

    def end(self, number: int) -> None:
        """End a group whose state is not known, and wait until its processes are gone."""
        with self._changed:
            group = self._groups.pop(number, None)
            self._states[number] = "failed"
        if group is not None:
            group.end()
            wait_until_gone(group.members)

    def ready(self) -> list[int]:
        """Return the numbers of the groups that can take a job."""
        with self._changed:
            return [number for number, state in self._states.items() if state == "ready"]

    def expected(self) -> int:
        """Return how many groups can take a job, or are about to."""
        with self._changed:
            return sum(state in ("ready", "preparing") for state in self._states.values())

    def names(self, number: int) -> list[str]:
        """Return the names of a group's actors, by rank."""
        with self._changed:
            return list(self._groups[number].names)

    def wait_until_ready(self) -> None:
        """Wait until the first group can take a job.

        Raises:
            FairsweepError: what the worker's `prepare` raised.
            ResourcesError: there is no place for a single group.
        """
        with self._changed:
            while "ready" not in self._states.values():
                if (reason := self._hopeless()) is not None:
                    raise reason
                self._changed.wait(1.0)

    def hopeless(self) -> Exception | None:
        """Return why nothing can run any more: no group is ready or about to be, and none has found a place for long; else None."""
        with self._changed:
            return None if "ready" in self._states.values() else self._hopeless()

    def progress(self, timeout_seconds: float = 1.0) -> list[Any]:
        """Return the signs of life of running jobs that arrive in time."""
        with self._changed:
            waiting = [self._groups[number].members[0].progress.remote() for number, state in self._states.items() if state == "ready"]
        if not waiting:
            return []
        ready, _ = ray.wait(waiting, num_returns=len(waiting), timeout=timeout_seconds)
        signs: list[Any] = []
        for reference in ready:
            with contextlib.suppress(ray.exceptions.RayError):
                signs += ray.get(reference)
        return signs

    def close(self) -> None:
        """End all groups."""
        self._closed.set()
        with self._changed:
            groups, self._groups, self._states = list(self._groups.values()), {}, {}
        for group in groups:
            group.end()
        # A thread that asked Ray after its end would start it anew.
        for thread in self._threads:
            thread.join(timeout=30)

    # ------------------------------------------------------------------------------------------------ in the group's thread

    def _bring_up(self, number: int, preparation: Sequence[Any] | None) -> None:
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._attempt(number, preparation)
            except Closed:
                return None
            except Exception as error:  # noqa: BLE001  a thread's error would be lost
                if self._closed.is_set():
                    return None
                cause = getattr(error, "cause", None) or error
                if attempt == ATTEMPTS or isinstance(cause, FairsweepError):
                    return self._give_up(number, cause)
                log.warning("group %d could not be formed (%s); it is started anew", number, str(cause).partition("\n")[0])
        return None

    def _attempt(self, number: int, preparation: Sequence[Any] | None) -> None:
        group = Group(f"{self._name}-{uuid.uuid4().hex[:8]}", self._factory, self._arguments, self._resources, self._lanes)
        closed = self._closed.is_set
        try:
            self._wait_for_placement(number, group)
            group.form(closed)
            if preparation is not None:
                group.call_all(closed, "prepare", *preparation)
        except BaseException:
            group.end()
            raise
        self._take(number, group)

    def _wait_for_placement(self, number: int, group: Group) -> None:
        self._set(number, "waiting")
        timer = threading.Timer(QUIET_SECONDS, log.warning, [_WAITS, number])
        timer.daemon = True
        timer.start()
        try:
            group.wait_for_placement(self._closed.is_set)
        finally:
            timer.cancel()
        self._set(number, "preparing")

    def _take(self, number: int, group: Group) -> None:
        with self._changed:
            if not self._closed.is_set():
                self._groups[number] = group
                self._states[number] = "ready"
                self._since = time.monotonic()
                self._changed.notify_all()
                return
        group.end()

    def _give_up(self, number: int, error: Exception) -> None:
        log.warning("group %d was given up: %s", number, str(error).partition("\n")[0])
        self.failure = error
        self._set(number, "failed")

    def _set(self, number: int, state: State) -> None:
        with self._changed:
            if not self._closed.is_set():
                self._states[number] = state
                self._since = time.monotonic()
                self._changed.notify_all()

    def _hopeless(self) -> Exception | None:
        states = set(self._states.values())
        if self.failure is not None and states <= {"failed"}:
            return self.failure
        if states <= {"waiting", "failed"} and time.monotonic() - self._since > PLACEMENT_SECONDS:
            return self.failure or ResourcesError(
                f"no trial found a place in the cluster for {PLACEMENT_SECONDS:g} s. Fix: wait until its nodes are back or free "
                "(`ray status` shows them), then run the same command again: what has finished is saved"
            )
        return None


_WAITS = "group %d waits for a place: its node is gone, or others hold it; the sweep goes on without the group until there is one"
