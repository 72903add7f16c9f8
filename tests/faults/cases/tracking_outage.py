"""An MLflow server that is away for a while holds up nothing: what it missed is delivered when it is back."""

from __future__ import annotations

from tests.faults.fault import Fault
from tests.faults.lab import Lab
from tests.faults.tracked import tracked

DOWN_SECONDS = 60


class TrackingOutage(Fault):
    number = 5
    done = f"the MLflow server killed after the first trial and started again {DOWN_SECONDS} s later"

    def run(self, lab: Lab) -> None:
        with tracked(lab) as (world, server):
            driver = world.start()
            world.wait(lambda: bool(world.done()), driver, "the first Outcome")
            server.stop(kill=True)
            world.sleep(DOWN_SECONDS)
            server.start()
            world.claim(world.ended(driver) == 0, "the driver did not go on by itself")
            world.claim(not driver.document().get("undelivered"), "the driver did not deliver when the server was back")
            lab.check(world, self)


FAULT = TrackingOutage
