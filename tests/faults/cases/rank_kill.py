"""A rank that dies in the middle of a step ends its group, and the trial is handed out again."""

from __future__ import annotations

import signal

import psutil

from tests.faults.fault import Fault
from tests.faults.lab import Lab
from tests.faults.sweep import GROUPS, STEPS
from tests.faults.world import World


class RankKill(Fault):
    number = 1
    done = "kill -9 of one rank of a group of two in the middle of a step"
    overrides = like = GROUPS

    def disturb(self, world: World, lab: Lab) -> None:
        moments = lab.random(self)
        world.set_trap(step=moments.randrange(1, STEPS), tickets=2)
        driver = world.start()
        world.wait(lambda: len(world.held()) == 2, driver, "a step of both ranks")
        psutil.Process(moments.choice(world.held())).send_signal(signal.SIGKILL)
        world.release()
        world.claim(world.ended(driver) == 0, "the driver did not go on by itself")


FAULT = RankKill
