"""A trial that ends its worker every time, as the kernel does when memory is short, is handed out a bounded number of times."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from tests.faults.fault import Fault
from tests.faults.lab import Lab
from tests.faults.world import World


class TrialKillsWorker(Fault):
    number = 1
    done = "a trial whose worker is killed at every attempt"
    overrides = ("methods.deadly={method: planted, act: crash, rank: [2]}",)
    extra: ClassVar[Mapping[str, int]] = {"error": 2}

    def disturb(self, world: World, lab: Lab) -> None:
        driver = world.start()
        world.claim(world.ended(driver) == 1, "the driver did not record the trial as an error by itself")


FAULT = TrialKillsWorker
