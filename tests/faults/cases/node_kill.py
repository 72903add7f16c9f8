"""A node that is gone costs the trials that ran on it no more than another attempt."""

from __future__ import annotations

from tests.faults.fault import Fault
from tests.faults.lab import Lab
from tests.faults.nodes import cluster, node_of
from tests.faults.sweep import STEPS


class NodeKill(Fault):
    number = 2
    done = "kill -9 of a Ray node of three, with a trial on it"

    def run(self, lab: Lab) -> None:
        with cluster(lab, workers=2) as (world, nodes):
            world.set_trap(step=lab.random(self).randrange(1, STEPS))
            driver = world.start()
            world.wait(lambda: bool(world.held()), driver, "a step of a worker")
            nodes.kill(node_of(nodes, world.held()[0]))
            world.release()
            world.claim(world.ended(driver) == 0, "the driver did not go on by itself")
            lab.check(world, self)


FAULT = NodeKill
