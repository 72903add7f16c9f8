"""A group: the actors of one trial, one for each rank, on the node or nodes where a placement group puts them."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from cluster.member import Member
from cluster.resources import TrialResources

JOIN_SECONDS = 600.0
"""How long the ranks of a group may take to meet; what forms the group in the worker has a shorter limit of its own."""
GONE_SECONDS = 20.0
"""How long an actor that was killed may go on answering."""


class Closed(Exception):
    """The fleet was closed while a group was waited for."""


class Group:
    """Starts the actors of one group; they end with `end`, or with the driver that made it.

    Args:
        name: of the group; the members are called by it and their rank, so that a proxy finds them.
        factory: of the members' worker, as `module:name`.
        arguments: keyword arguments of the factory.
        resources: what each member reserves, and their number.
        lanes: how many jobs a member runs at once.

    Attributes:
        names: of the members, by rank.
        members: their handles.
    """

    def __init__(self, name: str, factory: str, arguments: Mapping[str, Any], resources: TrialResources, lanes: int = 1) -> None:
        self.names = [f"{name}-{rank}" for rank in range(resources.workers)]
        self._placement: PlacementGroup | None = None
        if resources.workers > 1:
            self._placement = placement_group([resources.bundle()] * resources.workers, strategy="PACK")
        actor, content = ray.remote(concurrency_groups={"signals": 1, "lanes": lanes})(Member), dict(arguments)
        options = {"max_restarts": 0, "max_task_retries": 0, "runtime_env": {"env_vars": _environment(resources)}}
        options |= resources.actor_options()
        self.members = [
            actor.options(name=member, **options, **self._place(rank)).remote(factory, content) for rank, member in enumerate(self.names)
        ]

    def wait_for_placement(self, closed: Callable[[], bool]) -> None:
        """Wait until every member runs, however long it takes.

        Raises:
            Closed: the fleet was closed meanwhile.
            ray.exceptions.RayError: a member cannot start.
        """
        results([member.address.remote() for member in self.members], closed)

    def form(self, closed: Callable[[], bool]) -> None:
        """Let the members meet, at an address of the first one's node; a group of one has nobody to meet.

        Raises:
            Closed: the fleet was closed meanwhile.
            TimeoutError: they did not meet in time.
            ray.exceptions.RayError: a member failed.
        """
        size = len(self.members)
        if size == 1:
            return
        host = results([self.members[0].address.remote()], closed)[0]
        port = results([self.members[0].call.remote("serve_rendezvous", host, size)], closed, JOIN_SECONDS)[0]
        joining = [member.call.remote("join", rank, size, host, port) for rank, member in enumerate(self.members)]
        results(joining, closed, JOIN_SECONDS)

    def call_all(self, closed: Callable[[], bool], name: str, *arguments: Any) -> None:
        """Call a method on every rank and wait; the first error is raised as Ray has it."""
        results([member.call.remote(name, *arguments) for member in self.members], closed)

    def end(self) -> None:
        """End the members' processes, whatever state they are in, and give back what they reserved."""
        kill(self.members)
        if self._placement is not None:
            remove_placement_group(self._placement)

    def _place(self, rank: int) -> dict[str, Any]:
        if self._placement is None:
            return {}
        return {"scheduling_strategy": PlacementGroupSchedulingStrategy(self._placement, placement_group_bundle_index=rank)}


def results(references: Sequence[Any], closed: Callable[[], bool], timeout_seconds: float | None = None) -> list[Any]:
    """Return what calls of several members return; the first failure is raised at once, since the others may wait for that member.

    Raises:
        Closed: `closed` became true meanwhile.
        TimeoutError: they did not return in time.
        ray.exceptions.RayError: one of them failed.
    """
    waiting = list(references)
    found: dict[Any, Any] = {}
    deadline = None if timeout_seconds is None else time.monotonic() + timeout_seconds
    while waiting:
        if closed():
            raise Closed
        if deadline is not None and time.monotonic() > deadline:
            raise TimeoutError(f"{len(waiting)} of {len(references)} ranks did not answer within {timeout_seconds:g} s")
        ready, waiting = ray.wait(waiting, num_returns=1, timeout=0.5)
        found |= {reference: ray.get(reference) for reference in ready}
    return [found[reference] for reference in references]


def kill(members: Sequence[Any]) -> None:
    """End members; those that hang or are stopped too."""
    for member in members:
        with contextlib.suppress(ray.exceptions.RayError, ValueError):
            ray.kill(member, no_restart=True)


def wait_until_gone(members: Sequence[Any], timeout_seconds: float = GONE_SECONDS) -> bool:
    """Wait until killed members no longer answer; tell whether all of them are gone."""
    deadline = time.monotonic() + timeout_seconds
    return all(_gone(member, deadline) for member in members)


def _gone(member: Any, deadline: float) -> bool:
    while (left := deadline - time.monotonic()) > 0:
        try:
            ray.get(member.address.remote(), timeout=left)
        except ray.exceptions.GetTimeoutError:
            return False
        except ray.exceptions.ActorUnavailableError:  # its node was lost from sight, which says nothing of the process
            pass
        except ray.exceptions.RayError:
            return True
        time.sleep(0.05)
    return False


def _environment(resources: TrialResources) -> dict[str, str]:
    threads = str(resources.cpus)
    environment = {
        "OMP_NUM_THREADS": threads,
        "MKL_NUM_THREADS": threads,
        # Trials run in threads, one at a time. Without it each thread has a heap of its own, and keeps what it freed.
        "MALLOC_ARENA_MAX": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    }
    return environment if resources.gpus else {**environment, "CUDA_VISIBLE_DEVICES": ""}
