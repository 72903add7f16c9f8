"""A world on a Ray cluster of several nodes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.lab import Lab
from tests.faults.world import World
from tests.services.ray_nodes import RayNodes


@contextmanager
def cluster(lab: Lab, workers: int) -> Iterator[tuple[World, RayNodes]]:
    """Start a cluster, and make a world whose drivers run on its head.

    Args:
        workers: nodes besides the head that take one trial each; the head takes none.
    """
    with lab.world() as world, RayNodes(workers + 1, [0, *[1] * workers], environment=world.variables()) as nodes:
        world.move_to(nodes)
        yield world, nodes


def node_of(nodes: RayNodes, process_id: int) -> int:
    """Return the number of the node that a process belongs to."""
    for number in range(1, len(nodes.addresses)):
        if process_id in {process.pid for process in nodes.processes(number)}:
            return number
    raise LookupError(f"process {process_id} runs on no node")
