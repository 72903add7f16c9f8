"""A trial that hangs at every attempt is ended after the stall limit, a bounded number of times, and recorded as an error."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from tests.faults.fault import Fault
from tests.faults.lab import Lab


class TrialHangs(Fault):
    number = 12
    done = "a trial that sleeps for ever at every attempt"
    overrides = ("methods.stuck={method: planted, act: hang, rank: [2]}",)
    extra: ClassVar[Mapping[str, int]] = {"error": 2}

    def run(self, lab: Lab) -> None:
        with lab.world((*self.overrides, f"resources.stall_limit={lab.stall_seconds():.0f}")) as world:
            driver = world.start()
            world.claim(world.ended(driver) == 1, "the driver did not record the trial as an error by itself")
            lab.check(world, self)


FAULT = TrialHangs
