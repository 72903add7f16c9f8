"""A node that is preempted costs the trials that ran on it no more than another attempt; when it is back, it takes part again."""

from __future__ import annotations

from tests.faults.fault import Fault
from tests.faults.lab import Lab
from tests.faults.nodes import cluster, node_of
from tests.faults.sweep import STEPS


class NodePreempted(Fault):
    number = 4
    done = "SIGTERM to the only Ray node with trials on it, which comes back later"

    def run(self, lab: Lab) -> None:
        with cluster(lab, workers=1) as (world, nodes):
            world.set_trap(step=lab.random(self).randrange(1, STEPS))
            driver = world.start()
            world.wait(lambda: bool(world.held()), driver, "a step of a worker")
            node = node_of(nodes, world.held()[0])
            nodes.terminate(node)
            world.release()
            nodes.start(node)
            world.claim(world.ended(driver) == 0, "the driver did not go on by itself")
            lab.check(world, self)


FAULT = NodePreempted
