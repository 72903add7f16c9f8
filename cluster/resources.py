"""What one trial needs, and how many trials fit side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from search_spaces.errors import FairsweepError


class ResourcesError(FairsweepError):
    """What a trial asks for is more than the machine or cluster has."""


@dataclass(frozen=True)
class TrialResources:
    """What one trial reserves.

    Attributes:
        cpus: CPU cores of a worker; also its number of torch threads, fixed per sweep.
        gpus: GPUs of a worker.
        memory_bytes: memory of a worker; None reserves none.
        workers: processes of the trial; each fits on one node, and together they may lie on several.
    """

    cpus: int = 1
    gpus: float = 0
    memory_bytes: int | None = None
    workers: int = 1

    def bundle(self) -> dict[str, float]:
        """Return what one worker reserves, by Ray's resource names."""
        needs = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory_bytes or 0}
        return {name: need for name, need in needs.items() if need}

    def actor_options(self) -> dict[str, float | int]:
        """Return Ray's options for an actor that holds a worker's resources."""
        options: dict[str, float | int] = {"num_cpus": self.cpus, "num_gpus": self.gpus}
        return options if self.memory_bytes is None else {**options, "memory": self.memory_bytes}

    def slots(self, node: Mapping[str, float]) -> int:
        """Return how many workers fit on a node, given its resources by Ray's names."""
        # Ray counts in ten-thousandths: 10 workers with 0.1 GPU each fit on one GPU.
        return min(math.floor(node.get(name, 0) / need + 1e-9) for name, need in self.bundle().items())

    def side_by_side(self, nodes: Sequence[Mapping[str, float]]) -> int:
        """Return how many trials fit on a cluster.

        Args:
            nodes: the resources of each node, by Ray's names.

        Raises:
            ResourcesError: not a single one fits.
        """
        slots = sum(self.slots(node) for node in nodes)
        if slots >= self.workers:
            return slots // self.workers
        if slots:
            raise ResourcesError(
                f"a trial needs {self.workers} workers with {self._written()} each, and {len(nodes)} node(s) have room for {slots}. "
                "Fix: lower resources.workers in the sweep file, or pass --address of a larger cluster"
            )
        raise ResourcesError(self._too_large(nodes))

    def _too_large(self, nodes: Sequence[Mapping[str, float]]) -> str:
        bundle = self.bundle()
        best = max(nodes, key=lambda node: sum(node.get(name, 0) >= need for name, need in bundle.items()), default={})
        scarce = min(bundle, key=lambda name: best.get(name, 0) / bundle[name])
        where = "are there" if len(nodes) == 1 else f"are on the node that comes closest, of {len(nodes)}"
        key = {"CPU": "cpus", "GPU": "gpus", "memory": "memory"}[scarce]
        return (
            f"a trial needs {bundle[scarce]:g} {scarce}, and {best.get(scarce, 0):g} {where}. "
            f"Fix: lower resources.{key} in the sweep file, or pass --address of a larger cluster"
        )

    def _written(self) -> str:
        return ", ".join(f"{need:g} {name}" for name, need in self.bundle().items())
