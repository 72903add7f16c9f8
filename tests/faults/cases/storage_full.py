"""A storage without room stops a sweep with a message that says what to do; once there is room, the same command goes on."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.faults.driver import Driver
from tests.faults.fault import Fault
from tests.faults.lab import Lab
from tests.faults.world import World

SIZE = "8m"
BAD_INPUT = 2
PIECE = bytes(4096)


class StorageFull(Fault):
    number = 7
    done = "the storage's file system is filled after the first trial, and freed after two runs"

    def unmet(self) -> str | None:
        if os.geteuid() != 0:
            return "a small file system can be mounted by root only"
        try:
            with _file_system():
                return None
        except subprocess.CalledProcessError as error:
            return f"a small file system cannot be mounted here: {error.stderr.strip()}"

    def run(self, lab: Lab) -> None:
        with _file_system() as place, lab.world(storage=place / "sweeps") as world:
            driver = world.start()
            world.wait(lambda: bool(world.done()), driver, "the first Outcome")
            filler = _filled(place)
            self._stopped(world, driver)
            self._stopped(world, world.start())
            filler.unlink()
            lab.check(world, self)

    @staticmethod
    def _stopped(world: World, driver: Driver) -> None:
        code, text = world.ended(driver), driver.error_text()
        world.claim(code == BAD_INPUT, f"with a full storage a driver ended with {code}, not {BAD_INPUT}: {text[-300:]}")
        world.claim("no space left" in text and "Fix:" in text, f"a driver did not say that the storage is full: {text[-300:]}")


@contextmanager
def _file_system() -> Iterator[Path]:
    """Mount a file system that a few files fill."""
    with tempfile.TemporaryDirectory(prefix="faults-disk-") as folder:
        subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={SIZE}", "fairsweep-faults", folder], check=True, capture_output=True, text=True
        )
        try:
            yield Path(folder)
        finally:
            subprocess.run(["umount", "--lazy", folder], check=True, capture_output=True)


def _filled(place: Path) -> Path:
    """Fill a file system to the last block."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while file.write(PIECE):
                pass
        except OSError:
            return filler
    return filler


FAULT = StorageFull
