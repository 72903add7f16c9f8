"""Asks every node of a cluster, or this machine, and waits for no node longer than agreed."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.questions import Answer, Node, Offset, Question, answer, called, first_line

CLOCK_SAMPLES = 5
UNEXPECTED = 2
"""Ray's `DeathReason` of a node that was lost; the others are nodes that were taken down in order."""


class Examiner:
    """The body of an actor that runs on one node."""

    def clock(self) -> float:
        """Return the node's time, in seconds since 1970."""
        return time.time()

    def call(self, function: str, arguments: Mapping[str, Any]) -> tuple[str, Any]:
        """Call a function by name; return `value` with what it returned, or `error` with what it raised."""
        return called(function, arguments)


class ClusterExaminers:
    """One actor on each live node of the cluster that this process is connected to.

    Args:
        timeout_seconds: how long a node may take for one answer; after that it is not asked again.
    """

    def __init__(self, timeout_seconds: float) -> None:
        self.nodes: Sequence[Node] = cluster_nodes()
        self.silent: dict[str, str] = {}
        self.timeout_seconds = timeout_seconds
        self._actors = {node.name: _actor_on(node) for node in self.nodes if not node.lost}

    def ask(self, question: Callable[[Node], Question]) -> dict[str, Answer]:
        """Ask all nodes at once."""
        questions = {node.name: question(node) for node in self.nodes if node.name in self._actors}
        found = self._gather({name: self._actors[name].call.remote(*asked) for name, asked in questions.items()})
        return {name: answer(*value) for name, value in found.items()}

    def offsets(self) -> dict[str, Offset]:
        """Return the offset of every node's clock: the sample with the shortest round trip of several, one node after the other."""
        self._gather({name: actor.clock.remote() for name, actor in self._actors.items()})
        best: dict[str, Offset] = {}
        for name in list(self._actors):
            samples = [sample for _ in range(CLOCK_SAMPLES) if (sample := self._sample(name))]
            if samples:
                best[name] = min(samples, key=lambda sample: sample.uncertainty)
        return best

    def close(self) -> None:
        """End the actors."""
        actors, self._actors = self._actors, {}
        for actor in actors.values():
            with contextlib.suppress(ray.exceptions.RayError):
                ray.kill(actor)

    def _sample(self, name: str) -> Offset | None:
        if name not in self._actors:
            return None
        sent, begun = time.time(), time.monotonic()
        found = self._gather({name: self._actors[name].clock.remote()})
        trip = time.monotonic() - begun
        return Offset(found[name] - (sent + trip / 2), trip / 2) if found else None

    def _gather(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return what arrives in time, by node name; the other nodes fall silent."""
        ready, _ = ray.wait(list(asked.values()), num_returns=len(asked), timeout=self.timeout_seconds) if asked else ([], [])
        found: dict[str, Any] = {}
        for name, reference in asked.items():
            if reference not in ready:
                self._give_up(name, f"no answer within {self.timeout_seconds:g} seconds")
                continue
            try:
                found[name] = ray.get(reference)
            except ray.exceptions.RayError as error:
                self._give_up(name, _reason(error))
        return found

    def _give_up(self, name: str, reason: str) -> None:
        self.silent[name] = reason
        actor = self._actors.pop(name)
        with contextlib.suppress(ray.exceptions.RayError):
            ray.kill(actor)


@contextmanager
def cluster_examiners(timeout_seconds: float) -> Iterator[ClusterExaminers]:
    """Place an actor on each live node of the connected cluster, and end them all afterwards."""
    examiners = ClusterExaminers(timeout_seconds)
    try:
        yield examiners
    finally:
        examiners.close()


def cluster_nodes() -> list[Node]:
    """Return the nodes of the connected cluster: the live ones, and those lost whose address has no live one."""
    table = ray.nodes()
    alive = [entry for entry in table if entry["Alive"]]
    addresses = {entry["NodeManagerAddress"] for entry in alive}
    lost = {
        entry["NodeManagerAddress"]: entry
        for entry in table
        if not entry["Alive"] and entry.get("DeathReason") == UNEXPECTED and entry["NodeManagerAddress"] not in addresses
    }
    return [_node(entry, _named(entry, alive)) for entry in alive] + [_node(entry, _named(entry, lost.values())) for entry in lost.values()]


def authentication() -> bool:
    """Tell whether this node's Ray asks for a token."""
    from ray._private.authentication.authentication_utils import is_token_auth_enabled

    return bool(is_token_auth_enabled())


def _reason(error: Exception) -> str:
    """Return the line of Ray's error that says most: of a trace from a node, the last one."""
    lines = str(error).strip().splitlines()
    return first_line(lines[-1] if isinstance(error, ray.exceptions.RayTaskError) and lines else str(error))


def _actor_on(node: Node) -> Any:
    pinned = NodeAffinitySchedulingStrategy(node.id, soft=False)
    # No CPU: it must run on a node that is busy with trials, and hold nothing back from them.
    return ray.remote(Examiner).options(num_cpus=0, max_restarts=0, scheduling_strategy=pinned).remote()


def _named(entry: Mapping[str, Any], all_entries: Any) -> str:
    """Return the node's address, with the start of its id where several nodes share the address."""
    address: str = entry["NodeManagerAddress"]
    shared = sum(other["NodeManagerAddress"] == address for other in all_entries) > 1
    return f"{address} ({entry['NodeID'][:6]})" if shared else address


def _node(entry: Mapping[str, Any], name: str) -> Node:
    lost = "" if entry["Alive"] else (entry.get("DeathReasonMessage") or "lost").splitlines()[0]
    temporary = str(Path(entry["RayletSocketName"]).parents[2])
    return Node(name, entry["NodeID"], entry["NodeManagerAddress"], entry["Resources"], temporary, lost)
