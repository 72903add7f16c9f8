"""Hands a job to all ranks of a group and waits: for their answers, a failure, or the end of patience.

A group may run several jobs at once, each handed out by itself; where the group hangs or dies, all of its hand-outs end.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import ray

from cluster.group import kill, wait_until_gone

GRACE_SECONDS = 60.0
"""A trial ends itself at its time limit, and its ranks return together; one that has not returned this long after it hangs."""
ANSWER_SECONDS = 60.0
"""How long an idle member may take to answer."""
FAILURE_SECONDS = 3.0
"""After the first failure of a rank, how long to wait for those of the others: the cause is often not what shows first."""
LOADING_FACTOR = 4
"""Before its first sign of life, while it may be loading a base model, a trial may take this many times the stall limit."""
LONGEST_LOOK_SECONDS = 10.0


@dataclass(frozen=True)
class Limits:
    """How long a hand-out is waited for.

    Attributes:
        stall: seconds without a sign of life after which a group counts as hanging.
        time_limit: seconds a trial may take in all; None sets no limit.
    """

    stall: float
    time_limit: float | None = None


@dataclass(frozen=True)
class Ending:
    """How a hand-out ended.

    Attributes:
        reason: what went wrong; empty when rank 0 returned.
        error: what the rank raised that the reason tells of, if it was an error of its own.
        broken: the group's processes were ended: it must be formed anew.
        begun: the job reached the group; False when the group turned out to be dead before that.
    """

    reason: str = ""
    error: BaseException | None = None
    broken: bool = False
    begun: bool = True


def hand_out(members: Sequence[Any], job: Any, limits: Limits) -> Ending:
    """Run a job on all members and return how that ended; a group that is of no use afterwards has no process left."""
    try:
        ray.get([member.signs.remote() for member in members], timeout=ANSWER_SECONDS)
    except ray.exceptions.RayError as error:
        return _end(members, Ending(f"an idle process was gone: {_written(error)}", broken=True, begun=False))
    ending = _HandOut(members, job, limits).wait()
    return _end(members, ending) if ending.broken else ending


class _HandOut:
    """The calls of one job, one for each rank."""

    def __init__(self, members: Sequence[Any], job: Any, limits: Limits) -> None:
        self._members, self._limits, self._lane = members, limits, uuid.uuid4().hex
        self._running = {member.run.remote(job, self._lane): rank for rank, member in enumerate(members)}
        self._failures: dict[int, ray.exceptions.RayError] = {}
        self._begun = self._alive = time.monotonic()
        self._first_returned: float | None = None
        self._signs: int | None = None
        self._given = False
        self._asked = members[0].signs.remote(self._lane)

    def wait(self) -> Ending:
        look = min(LONGEST_LOOK_SECONDS, self._limits.stall / 10)
        while self._running and not self._failures:
            if not self._collect(look):
                self._look_for_life()
                if (ending := self._out_of_patience()) is not None:
                    return ending
        return self._failed() if self._failures else Ending()

    def _collect(self, timeout_seconds: float) -> bool:
        """Take what a rank returned or raised; tell whether there was any."""
        ready, _ = ray.wait(list(self._running), num_returns=1, timeout=timeout_seconds)
        for reference in ready:
            rank = self._running.pop(reference)
            try:
                ray.get(reference)
            except ray.exceptions.RayError as error:
                self._failures[rank] = error
            if rank == 0:
                self._first_returned = time.monotonic()
        return bool(ready)

    def _look_for_life(self) -> None:
        if not ray.wait([self._asked], timeout=0)[0]:
            return
        try:
            signs = ray.get(self._asked)
        except ray.exceptions.RayError:
            return
        if self._signs is not None and signs != self._signs:
            self._alive, self._given = time.monotonic(), True
        self._signs, self._asked = signs, self._members[0].signs.remote(self._lane)

    def _out_of_patience(self) -> Ending | None:
        now, limits = time.monotonic(), self._limits
        if self._first_returned is not None:
            # The trial is done: rank 0 has written its Outcome.
            return Ending(broken=True) if now - self._first_returned > GRACE_SECONDS else None
        if limits.time_limit is not None and now - self._begun > limits.time_limit + GRACE_SECONDS:
            return Ending(f"no answer within {limits.time_limit + GRACE_SECONDS:g} s; its processes were ended", broken=True)
        allowed = limits.stall * (1 if self._given else LOADING_FACTOR)
        if now - self._alive > allowed:
            return Ending(f"no sign of life for {allowed:g} s (resources.stall_limit); its processes were ended", broken=True)
        return None

    def _failed(self) -> Ending:
        deadline = time.monotonic() + FAILURE_SECONDS
        while self._running and time.monotonic() < deadline:
            self._collect(deadline - time.monotonic())
        rank, error = min(self._failures.items(), key=lambda item: (_remoteness(item[1]), item[0]))
        where = f"rank {rank}: " if len(self._members) > 1 else ""
        cause = error.cause if isinstance(error, ray.exceptions.RayTaskError) else None
        # Alone, a process that raised is as good as before; several have lost each other.
        return Ending(where + _written(error), cause, broken=cause is None or len(self._members) > 1)


def _remoteness(error: ray.exceptions.RayError) -> int:
    """Rank failures by how close they are to the cause: what follows from a peer's death is an error of the connection."""
    if "OutOfMemory" in _written(error) or "MemoryError" in _written(error):
        return 0
    return 2 if isinstance(error, ray.exceptions.RayTaskError) else 1


def _written(error: ray.exceptions.RayError) -> str:
    told = error.cause if isinstance(error, ray.exceptions.RayTaskError) and error.cause is not None else error
    lines = str(told).strip().splitlines()
    return f"{type(told).__name__}: {lines[0] if lines else 'no message'}"


def _end(members: Sequence[Any], ending: Ending) -> Ending:
    """End what is left of a group before its trial may be handed out again: two attempts of one trial must not run side by side."""
    kill(members)
    wait_until_gone(members)
    return ending
