"""A worker that dies with a full pack loses all of its trials at once; each goes on, and none of them counts as the cause."""

from __future__ import annotations

import signal

import psutil

from tests.faults.fault import Fault
from tests.faults.lab import Lab
from tests.faults.sweep import STEPS
from tests.faults.world import World


class PackKill(Fault):
    number = 1
    done = "kill -9 of a worker in the middle of a step of a full pack"
    overrides = ("packing=4",)
    like = ("packing=4",)

    def disturb(self, world: World, lab: Lab) -> None:
        world.set_trap(step=lab.random(self).randrange(1, STEPS))
        driver = world.start()
        world.wait(lambda: bool(world.held()), driver, "a step of a worker")
        for process_id in world.held():
            psutil.Process(process_id).send_signal(signal.SIGKILL)
        world.release()
        world.claim(world.ended(driver) == 0, "the driver did not go on by itself")


FAULT = PackKill
