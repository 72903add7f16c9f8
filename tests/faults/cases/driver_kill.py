"""A driver that dies, at whatever moment, is continued by the same command."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.faults.driver import Driver
from tests.faults.fault import Fault
from tests.faults.lab import Lab
from tests.faults.undisturbed import Undisturbed
from tests.faults.world import World

MOMENTS = ("start-up", "select", "between", "report", "delivery")
"""Parts of a run; a round kills a driver once in each, and every driver continues what the killed one before it left."""
KILLS = 20
MISSES = 3
"""How often a driver may come to its end before the kill before the next part is tried."""


class DriverKill(Fault):
    number = 3
    done = f"kill -9 of the driver at {KILLS} random moments, each followed by the same command"
    in_ci = True

    def run(self, lab: Lab) -> None:
        moments, undisturbed = lab.random(self), lab.undisturbed()
        kills, wanted = 0, len(MOMENTS) if lab.brief else KILLS
        for _ in range(2 * KILLS // len(MOMENTS)):
            if kills < wanted:
                with lab.world() as world:
                    for part in MOMENTS:
                        kills += _killed(world, part, undisturbed, moments)
                    lab.check(world, self)
        if kills < wanted:
            lab.violations.append(f"the driver was killed {kills} times only, not {wanted}: it ended before")


def _killed(world: World, part: str, undisturbed: Undisturbed, moments: Random) -> bool:
    """Kill a driver at a random moment of a part; False when it came to its end each time."""
    for _ in range(MISSES):
        driver = world.start()
        after = moments.uniform(0, undisturbed.phase_seconds()[part])
        if world.wait(_begins(world, driver, part, undisturbed), driver, part) and world.sleep(after, driver):
            world.kill(driver)
            world.note(f"killed {after:.2f} s into {part}, with {len(world.done())} of {len(undisturbed.records)} Outcomes")
            return True
    return False


def _begins(world: World, driver: Driver, part: str, undisturbed: Undisturbed) -> Callable[[], bool]:
    """Return what tells that a part has begun; a part that earlier drivers saw to its end begins with the driver's work."""
    conditions: dict[str, Callable[[], bool]] = {
        "start-up": lambda: True,
        "select": lambda: bool(undisturbed.select & (world.running() | world.done())),
        "between": lambda: undisturbed.select <= world.done(),
        "report": lambda: bool(undisturbed.report & (world.running() | world.done())),
        "delivery": lambda: undisturbed.records.keys() <= world.done(),
    }
    return lambda: (part == "start-up" or world.in_charge(driver)) and conditions[part]()


FAULT = DriverKill
