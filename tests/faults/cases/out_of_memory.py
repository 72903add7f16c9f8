"""A trial that runs out of memory is recorded as such, and the others do not notice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from tests.faults.fault import Fault
from tests.faults.lab import Lab
from tests.faults.world import World


class OutOfMemory(Fault):
    number = 10
    done = "a method that allocates without end, under a limit of the process's address space"
    in_ci = True
    overrides = ("methods.hungry={method: planted, act: allocate, rank: [2]}",)
    extra: ClassVar[Mapping[str, int]] = {"out_of_memory": 2}

    def disturb(self, world: World, lab: Lab) -> None:
        world.start()


FAULT = OutOfMemory
