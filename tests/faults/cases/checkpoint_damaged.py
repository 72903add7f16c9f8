"""A damaged checkpoint is found by its checksums, and the trial goes on from the one before it."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path

import psutil

from tests.faults.driver import Driver
from tests.faults.fault import Fault
from tests.faults.lab import Lab
from tests.faults.sweep import EVALUATIONS, SELECT, STEPS
from tests.faults.world import World

EVERY = STEPS // EVALUATIONS
"""Steps from one checkpoint to the next, when each evaluation is followed by one."""
STATE = "state.safetensors"


class CheckpointDamaged(Fault):
    number = 8
    done = "a trial's newest checkpoint is truncated, and a later one gets a bit flipped; its worker is killed each time"
    in_ci = True

    def run(self, lab: Lab) -> None:
        with lab.world(environment={"FAIRSWEEP_CHECKPOINT_SECONDS": "0"}) as world:
            world.set_trap(step=2 * EVERY + 2)
            driver = world.start()
            self._damage(world, driver, _truncate, newest=2 * EVERY, held_next=3 * EVERY + 2)
            self._damage(world, driver, _flip_a_bit, newest=3 * EVERY, held_next=None)
            world.claim(world.ended(driver) == 0, "the driver did not go on by itself")
            lab.check(world, self)

    def _damage(self, world: World, driver: Driver, damage: Callable[[Path], None], newest: int, held_next: int | None) -> None:
        """Damage the newest checkpoint of the held trial and kill its worker; it must go on from the checkpoint before."""
        world.wait(lambda: bool(world.held()), driver, "a step of a worker")
        # Once all others that can run have finished, the one that is left is the one that is held.
        world.wait(lambda: len(world.done()) >= SELECT, driver, "the end of the other trials")
        (trial_id,) = world.running() - world.done()
        steps = sorted(int(folder.name) for folder in (world.sweep / "checkpoints" / trial_id).iterdir())
        world.claim(steps == [newest - EVERY, newest], f"trial {trial_id} has checkpoints at the steps {steps}")
        damage(world.sweep / "checkpoints" / trial_id / f"{newest:09d}" / STATE)
        (held,) = world.held()
        world.set_trap(held_next, 1) if held_next is not None else world.set_trap(-1, 0)
        psutil.Process(held).send_signal(signal.SIGKILL)
        world.wait(lambda: bool(world.steps_taken()), driver, "the next attempt")
        first = world.steps_taken()[0][1]
        world.claim(
            first == newest - EVERY, f"the next attempt went on at step {first}, not at that of the sound checkpoint, {newest - EVERY}"
        )


def _truncate(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _flip_a_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


FAULT = CheckpointDamaged
