"""What a fault is, and where faults are found: every file of `tests/faults/cases` is one."""

from __future__ import annotations

import importlib
from abc import ABC
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from tests.faults.lab import Lab
    from tests.faults.world import World

CASES = Path(__file__).parent / "cases"


class Fault(ABC):
    """Something that is done to a running sweep.

    A subclass says what is done (`disturb`), and what must hold besides what must hold every time. Its file names it as `FAULT`.
    """

    number: ClassVar[int]
    """Orders the table; variants of one fault share it."""
    done: ClassVar[str]
    """What is done, for the table."""
    in_ci: ClassVar[bool] = False
    """Whether the subset `ci` has it."""
    overrides: ClassVar[tuple[str, ...]] = ()
    """Changes of the sweep, as `KEY=VALUE`; they may add trials, and leave the others' ids as they are."""
    extra: ClassVar[Mapping[str, int]] = {}
    """Status -> number of the trials that the overrides add, and that must end so."""
    like: ClassVar[tuple[str, ...]] = ()
    """Overrides of the undisturbed run that the sweep is compared with."""

    @property
    def name(self) -> str:
        """The name of the fault's file, with hyphens."""
        return type(self).__module__.rpartition(".")[2].replace("_", "-")

    def unmet(self) -> str | None:
        """Return what this machine lacks for the fault, or None."""
        return None

    def run(self, lab: Lab) -> None:
        """Make a world, disturb it, and check that the sweep survived."""
        with lab.world(self.overrides) as world:
            self.disturb(world, lab)
            lab.check(world, self)

    def disturb(self, world: World, lab: Lab) -> None:
        """Start the sweep and do to it what the fault does; what still runs then is seen to its end afterwards."""
        raise NotImplementedError(f"{type(self).__name__} has neither `disturb` nor `run`")


def load_faults(folder: Path = CASES, package: str = "tests.faults.cases") -> dict[str, Fault]:
    """Return all faults by name, in the order of their numbers."""
    modules = [importlib.import_module(f"{package}.{file.stem}") for file in sorted(folder.glob("[!_]*.py"))]
    faults: list[Fault] = [module.FAULT() for module in modules]
    return {fault.name: fault for fault in sorted(faults, key=lambda fault: (fault.number, fault.name))}
