"""One driver at a time on a standing cluster, also where the storage's own lock does not reach: an actor whose name is taken once."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from orchestrator.sweep.holder import Holder
from orchestrator.sweep.ray_session import ClusterError
from search_spaces.errors import BusyError
from trainers.storage import Storage

NAMESPACE = "fairsweep"
WAIT_SECONDS = 30.0
"""How long the actor of another driver is watched: Ray ends that of one that was killed within this time."""
ANSWER_SECONDS = 60.0


class Driver:
    """The body of the actor, which ends with the driver that made it."""

    def __init__(self, description: str) -> None:
        self._description = description

    def description(self) -> str:
        """Return who the driver is."""
        return self._description


@contextmanager
def cluster_lock(folder: Storage, started: float) -> Iterator[None]:
    """Hold a sweep's lock on the cluster that this process is connected to. Take the storage's own lock first.

    Args:
        folder: the sweep's folder.
        started: Unix time in seconds, shown to whoever comes second.

    Raises:
        BusyError: another driver on this cluster runs the sweep; the message names that one.
        ClusterError: the cluster does not start the actor.
    """
    actor = _acquired(f"driver-{hashlib.sha256(folder.uri.encode()).hexdigest()[:32]}", folder.name, str(Holder.this(started)))
    try:
        yield
    finally:
        ray.kill(actor, no_restart=True)


def _acquired(name: str, sweep: str, description: str) -> Any:
    options = {"name": name, "namespace": NAMESPACE, "num_cpus": 0, "max_restarts": -1, "max_task_retries": -1}
    end = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            return _started(ray.remote(Driver).options(**options).remote(description))
        except ValueError:
            if time.monotonic() > end:
                told = f"sweep {sweep!r} is already being run on this cluster by {_holder(name)}. "
                raise BusyError(told + "Fix: wait for it to end, stop it, or give this sweep another name or --storage") from None
            time.sleep(1)


def _started(actor: Any) -> Any:
    try:
        ray.get(actor.description.remote(), timeout=ANSWER_SECONDS)
    except ray.exceptions.RayError as error:
        ray.kill(actor, no_restart=True)
        what = f"the Ray cluster did not start the actor that holds the sweep's lock within {ANSWER_SECONDS:g} s ({type(error).__name__})"
        raise ClusterError(f"{what}. Fix: see with `ray status` whether its nodes are alive, then run the same command again") from error
    return actor


def _holder(name: str) -> str:
    try:
        return str(ray.get(ray.get_actor(name, NAMESPACE).description.remote(), timeout=5))
    except (ValueError, ray.exceptions.RayError):
        return "another driver"
