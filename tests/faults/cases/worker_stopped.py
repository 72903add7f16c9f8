"""A worker that makes no progress any more is ended after the stall limit, and its trial handed out again."""

from __future__ import annotations

import signal

import psutil

from tests.faults.fault import Fault
from tests.faults.lab import Lab
from tests.faults.sweep import STEPS


class WorkerStopped(Fault):
    number = 12
    done = "SIGSTOP of a trial's worker in the middle of a step"

    def run(self, lab: Lab) -> None:
        with lab.world((f"resources.stall_limit={lab.stall_seconds():.0f}",)) as world:
            world.set_trap(step=lab.random(self).randrange(2, STEPS))
            driver = world.start()
            world.wait(lambda: bool(world.held()), driver, "a step of a worker")
            for process_id in world.held():
                psutil.Process(process_id).send_signal(signal.SIGSTOP)
            world.release()
            world.claim(world.ended(driver) == 0, "the driver did not go on by itself")
            lab.check(world, self)


FAULT = WorkerStopped
