"""A trial whose loss becomes NaN is recorded as diverged, and the others do not notice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from tests.faults.fault import Fault
from tests.faults.lab import Lab
from tests.faults.world import World


class TrialDiverges(Fault):
    number = 9
    done = "a learning rate at which the loss becomes NaN, for every method"
    in_ci = True
    overrides = ("grid.learning_rate=[1.0e-3, 1.0e-2, 3.0e+37]",)
    extra: ClassVar[Mapping[str, int]] = {"diverged": 2}

    def disturb(self, world: World, lab: Lab) -> None:
        world.start()


FAULT = TrialDiverges
