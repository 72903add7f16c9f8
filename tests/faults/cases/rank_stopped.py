"""A rank that hangs, which its peers wait for without end, is ended with its group, and the trial is handed out again."""

from __future__ import annotations

import signal

import psutil

from tests.faults.fault import Fault
from tests.faults.lab import Lab
from tests.faults.sweep import GROUPS, STEPS


class RankStopped(Fault):
    number = 12
    done = "SIGSTOP of one rank of a group of two in the middle of a step"
    like = GROUPS

    def run(self, lab: Lab) -> None:
        moments = lab.random(self)
        with lab.world((*GROUPS, f"resources.stall_limit={lab.stall_seconds(GROUPS):.0f}")) as world:
            world.set_trap(step=moments.randrange(2, STEPS), tickets=2)
            driver = world.start()
            world.wait(lambda: len(world.held()) == 2, driver, "a step of both ranks")
            psutil.Process(moments.choice(world.held())).send_signal(signal.SIGSTOP)
            world.release()
            world.claim(world.ended(driver) == 0, "the driver did not go on by itself")
            lab.check(world, self)


FAULT = RankStopped
