"""What one trial needs, and how many trials fit side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from search_spaces.errors import FairsweepError


class ResourcesError(FairsweepError):
    """What a trial asks for is more than the machine or cluster has."""


@dataclass(frozen=True)
class TrialResources:
    """What one trial reserves.

    Attributes:
        cpus: CPU cores; also the number of torch threads, fixed per sweep.
        gpus: GPUs.
        memory_bytes: memory; None reserves none.
    """

    cpus: int = 1
    gpus: float = 0
    memory_bytes: int | None = None

    def actor_options(self) -> dict[str, float | int]:
        """Return Ray's options for an actor that holds these resources."""
        options: dict[str, float | int] = {"num_cpus": self.cpus, "num_gpus": self.gpus}
        return options if self.memory_bytes is None else {**options, "memory": self.memory_bytes}

    def side_by_side(self, available: Mapping[str, float]) -> int:
        """Return how many trials fit into the available resources.

        Args:
            available: Ray's resource names and amounts.

        Raises:
            ResourcesError: not a single one fits.
        """
        needs = {"CPU": self.cpus, "GPU": self.gpus, "memory": self.memory_bytes or 0}
        fits = {name: math.floor(available.get(name, 0) / need) for name, need in needs.items() if need}
        scarce = min(fits, key=lambda name: fits[name])
        if fits[scarce] < 1:
            key = {"CPU": "cpus", "GPU": "gpus", "memory": "memory"}[scarce]
            raise ResourcesError(
                f"a trial needs {needs[scarce]:g} {scarce}, and {available.get(scarce, 0):g} are there. "
                f"Fix: lower resources.{key} in the sweep file, or pass --address of a larger cluster"
            )
        return fits[scarce]
