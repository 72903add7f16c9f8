"""A cluster whose head is lost takes the driver with it; a run without any cluster continues from the storage."""

from __future__ import annotations

from tests.faults.fault import Fault
from tests.faults.lab import Lab
from tests.faults.nodes import cluster
from tests.faults.sweep import STEPS


class HeadLoss(Fault):
    number = 13
    done = "kill -9 of a whole Ray cluster and the driver on its head; continued without a cluster"

    def run(self, lab: Lab) -> None:
        with cluster(lab, workers=1) as (world, nodes):
            world.set_trap(step=lab.random(self).randrange(1, STEPS))
            driver = world.start()
            world.wait(lambda: bool(world.held()), driver, "a step of a worker")
            nodes.kill(0)
            world.kill(driver)
            nodes.kill(1)
            world.release()
            world.move_to(None)
            lab.check(world, self)


FAULT = HeadLoss
