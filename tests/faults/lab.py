"""Where faults are tried: it makes worlds, knows the undisturbed run, and checks what a fault leaves."""

from __future__ import annotations

import random
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.faults import inspection, runs
from tests.faults.fault import Fault
from tests.faults.processes import Ledger
from tests.faults.records import read_records
from tests.faults.sweep import NAME
from tests.faults.undisturbed import Undisturbed, board_of
from tests.faults.world import Stuck, World

PATIENCE, LEAST_PATIENCE_SECONDS = 20, 600.0
"""An event that takes longer than so many undisturbed runs, and than so many seconds, does not happen any more."""


@dataclass
class Lab:
    """One run of the harness.

    Attributes:
        seed: of all random moments.
        brief: whether less is done, as in the subset for CI.
        say: shows a line of progress.
        keep: whether the folders of worlds stay.
    """

    seed: int
    brief: bool
    say: Callable[[str], None]
    keep: bool = False
    ledger: Ledger = field(default_factory=Ledger)
    starts: int = 0
    """Drivers started since the last reset, by whatever fault."""
    violations: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    _undisturbed: dict[tuple[str, ...], Undisturbed] = field(default_factory=dict)
    _kept: list[Path] = field(default_factory=list)

    def random(self, fault: Fault) -> random.Random:
        """Return a fault's own generator, whatever ran before it."""
        return random.Random(f"{self.seed} {fault.name}")

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Make a folder; it stays when there are violations."""
        folder = Path(tempfile.mkdtemp(prefix="faults-", dir="/tmp"))
        yield folder
        if not self.keep and not self.violations:
            shutil.rmtree(folder, ignore_errors=True)

    @contextmanager
    def world(self, overrides: tuple[str, ...] = (), **options: Any) -> Iterator[World]:
        """Make a world for one sweep, and end what it leaves running."""
        with self.folder() as folder:
            patience = max(LEAST_PATIENCE_SECONDS, PATIENCE * self.undisturbed().seconds)
            world = World(folder, self.ledger, self.say, overrides, patience_seconds=patience, **options)
            try:
                yield world
            except Stuck as stuck:
                world.violations.append(f"{stuck} ({folder})")
            finally:
                self.ledger.end()
                self.starts += len(world.drivers)
                self.violations += world.violations
                self.notes += world.notes

    def stall_seconds(self, overrides: tuple[str, ...] = ()) -> float:
        """Return a stall limit that no trial meets on this machine, however slow it is."""
        return max(10.0, 5 * self.undisturbed(overrides).longest_trial_seconds)

    def check(self, world: World, fault: Fault) -> None:
        """See a disturbed sweep to its end and note what does not hold."""
        driver = world.finish((0, 1) if fault.extra else (0,))
        world.remember()
        found, undisturbed = read_records(world.outcomes), self.undisturbed(fault.like)
        world.violations += inspection.outcomes(found, undisturbed, fault.extra)
        world.violations += inspection.answer(driver, found, undisturbed)
        world.violations += [line for each in world.drivers for line in inspection.messages(each)]
        world.violations += runs.violations(world.uri, NAME, found)
        world.gone("the processes of a sweep that has finished")

    def undisturbed(self, overrides: tuple[str, ...] = ()) -> Undisturbed:
        """Return the undisturbed run of a sweep, which is made once.

        Raises:
            Stuck: even that one fails.
        """
        if overrides not in self._undisturbed:
            self.say("the undisturbed run" + (f" with {', '.join(overrides)}" if overrides else ""))
            self._undisturbed[overrides] = self._run_undisturbed(overrides)
        return self._undisturbed[overrides]

    def _run_undisturbed(self, overrides: tuple[str, ...]) -> Undisturbed:
        folder = Path(tempfile.mkdtemp(prefix="faults-", dir="/tmp"))
        self._kept.append(folder)
        world = World(folder, self.ledger, self.say, overrides)
        try:
            began = time.time()
            driver = world.start()
            code = world.ended(driver)
            made = Undisturbed(read_records(world.outcomes), board_of(driver.document()), began, time.time()) if code == 0 else None
        finally:
            self.ledger.end()
        if made is None:
            raise Stuck(f"the undisturbed run ended with {code}:\n{driver.error_text()[-2000:]}")
        problems = [*inspection.answer(driver, made.records, made), *runs.violations(world.uri, NAME, made.records)]
        if problems:
            raise Stuck(f"the undisturbed run is not complete: {'; '.join(problems)}")
        self.say(f"it took {made.seconds:.1f} s: " + ", ".join(f"{name} {took:.1f} s" for name, took in made.phase_seconds().items()))
        return made

    def close(self) -> None:
        """End what still runs, and remove the undisturbed runs."""
        self.ledger.end()
        for folder in self._kept if not self.keep else ():
            shutil.rmtree(folder, ignore_errors=True)
