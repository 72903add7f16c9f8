"""An MLflow server that is away until after the sweep: the next run delivers everything and trains nothing."""

from __future__ import annotations

from tests.faults.fault import Fault
from tests.faults.lab import Lab
from tests.faults.tracked import tracked


class TrackingGone(Fault):
    number = 5
    done = "the MLflow server killed after the first trial and started again after the sweep"
    in_ci = True

    def run(self, lab: Lab) -> None:
        with tracked(lab, delivery_seconds=1) as (world, server):
            driver = world.start()
            world.wait(lambda: bool(world.done()), driver, "the first Outcome")
            server.stop(kill=True)
            code, trials = world.ended(driver), len(world.done())
            world.claim(code == 0, f"a sweep whose server is away ended with {code}: {driver.error_text()[-300:]}")
            world.claim(trials == len(lab.undisturbed().records), f"a sweep whose server is away ran {trials} trials only")
            world.claim(bool(driver.document().get("undelivered")), "the driver said that all was delivered")
            server.start()
            world.start(FAIRSWEEP_DELIVERY_SECONDS="900")
            lab.check(world, self)


FAULT = TrackingGone
