"""A driver that is told to end, as on a preempted machine, saves and ends in order."""

from __future__ import annotations

import signal

from tests.faults.fault import Fault
from tests.faults.lab import Lab
from tests.faults.world import World

INTERRUPTED = 130


class DriverPreempted(Fault):
    number = 4
    done = "SIGTERM to the driver, while it starts, in the select phase and in the report phase"

    def disturb(self, world: World, lab: Lab) -> None:
        undisturbed, moments = lab.undisturbed(), lab.random(self)
        self._preempted_at_start(world, moments.uniform(0, undisturbed.phase_seconds()["start-up"]))
        self._preempted_in(world, undisturbed.select)
        self._preempted_in(world, undisturbed.report)

    @staticmethod
    def _preempted_in(world: World, trials: frozenset[str]) -> None:
        """Preempt a driver while some of these trials run."""
        driver = world.start()
        if not world.wait(lambda: world.in_charge(driver) and bool(trials & world.running()), driver, "a trial"):
            return
        driver.send(signal.SIGTERM)
        code, text = world.ended(driver), driver.error_text()
        world.claim(code == INTERRUPTED, f"the preempted driver ended with {code}, not {INTERRUPTED}: {text[-300:]}")
        world.claim("To continue, run:" in text, f"the preempted driver did not say how to continue: {text[-300:]}")

    @staticmethod
    def _preempted_at_start(world: World, after_seconds: float) -> None:
        """Preempt a driver that may not have come so far as to say anything."""
        driver = world.start()
        world.sleep(after_seconds, driver)
        driver.send(signal.SIGTERM)
        code = world.ended(driver)
        world.claim(
            code in (INTERRUPTED, -signal.SIGTERM), f"a driver that was preempted {after_seconds:.2f} s after its start ended with {code}"
        )


FAULT = DriverPreempted
