"""Of two drivers on one sweep, one is told who runs it; no trial is trained twice."""

from __future__ import annotations

from tests.faults.driver import Driver
from tests.faults.fault import Fault
from tests.faults.lab import Lab
from tests.faults.world import World

BAD_INPUT = 2


class TwoDrivers(Fault):
    number = 11
    done = "two drivers of one sweep started at once, and a third while one of them runs"
    in_ci = True

    def disturb(self, world: World, lab: Lab) -> None:
        first, second = world.start(), world.start()
        world.wait(lambda: world.in_charge(first) or world.in_charge(second), what="a driver in charge")
        winner, other = (first, second) if world.in_charge(first) else (second, first)
        third = world.start()
        for driver in (other, third):
            self._refused(world, driver, winner)
        world.claim(world.ended(winner) == 0, "the driver that held the lock did not finish")

    @staticmethod
    def _refused(world: World, driver: Driver, winner: Driver) -> None:
        code, text = world.ended(driver), driver.error_text()
        if code == 0:
            world.note(f"driver {driver.number} came when the other one had ended")
            driver.before = world.done()
            return
        named = f"process {winner.process.pid}" in text and "already being run" in text
        world.claim(code == BAD_INPUT and named, f"driver {driver.number} was not refused by name ({code}): {text[-300:]}")


FAULT = TwoDrivers
