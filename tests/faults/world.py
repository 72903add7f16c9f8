"""A folder with a small sweep in it, and what can be seen of the sweep from outside while something is done to it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from tests.faults.driver import Driver
from tests.faults.processes import Ledger
from tests.faults.records import Record, attempts, outcome_folders, read_records
from tests.faults.sweep import ENTRY_POINTS, METADATA, NAME, SWEEP
from tests.services.ray_nodes import RayNodes

REPOSITORY = Path(__file__).parents[2]
PLUGIN = Path(__file__).parent / "plugin"
PATIENCE_SECONDS = 3600.0
"""How long an event may take before the world counts as stuck, while nothing is known of the machine's speed."""
POLL_SECONDS, LOOK_SECONDS = 0.01, 0.05
STARTS_TO_FINISH = 4
"""How often the same command may have to be given once a fault is over."""


class Stuck(Exception):
    """Something that had to happen did not."""


class World:
    """One sweep with a storage and a tracking store of its own.

    Args:
        folder: an empty folder, for all that the world needs; its path is short, since Ray's sockets lie below it.
        ledger: where its processes are noted.
        say: shows a line of progress.
        overrides: changes of the sweep, as `KEY=VALUE`.
        storage: folder of all sweeps; None for one in the world's.
        uri: tracking URI; None for a SQLite file in the world's folder.
        environment: more variables of its drivers.
        patience_seconds: how long an event may take before the world counts as stuck.
    """

    def __init__(
        self,
        folder: Path,
        ledger: Ledger,
        say: Callable[[str], None],
        overrides: Sequence[str] = (),
        *,
        storage: Path | None = None,
        uri: str | None = None,
        environment: Mapping[str, str] | None = None,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self.folder, self.ledger, self.say = folder, ledger, say
        self.storage = storage or folder / "storage"
        self.uri = uri or f"sqlite:///{folder}/mlflow.db"
        self.signals = folder / "signals"
        self.drivers: list[Driver] = []
        self.violations: list[str] = []
        self.notes: list[str] = []
        self._overrides, self._patience_seconds = tuple(overrides), patience_seconds
        self._environment = dict(environment or {})
        self._kept: dict[str, Record] = {}
        self._finished: set[str] = set()
        self._attempts: set[Path] = set()
        self._cluster: RayNodes | None = None
        self._looked = self._noted = 0.0
        self._furnish()

    # ------------------------------------------------------------------------------------------------ what is there

    @property
    def sweep(self) -> Path:
        """The sweep's folder in the storage."""
        return self.storage / NAME

    @property
    def outcomes(self) -> Path:
        return self.sweep / "outcomes"

    def done(self) -> frozenset[str]:
        """Return the ids of the trials that have an Outcome."""
        return frozenset(outcome_folders(self.outcomes))

    def running(self) -> frozenset[str]:
        """Return the ids of the trials that a worker is at, or was at when it was killed."""
        return frozenset(trial_id for trial_id, _ in attempts(self.outcomes))

    def in_charge(self, driver: Driver) -> bool:
        """Tell whether a driver holds the sweep's lock."""
        try:
            return bool(json.loads((self.sweep / "driver.json").read_text())["process"] == driver.process.pid)
        except (OSError, ValueError):
            return False

    # ------------------------------------------------------------------------------------------------ what is done

    def start(self, **environment: str) -> Driver:
        """Start a driver with this world's command."""
        number = len(self.drivers) + 1
        self.remember()
        answer, errors = self.folder / f"answer.{number}", self.folder / f"errors.{number}"
        with answer.open("wb") as output, errors.open("wb") as messages:
            process = self._launch({**self.environment(), **environment}, output, messages)
        driver = Driver(number, process, answer, errors, self.done())
        self.ledger.note(process.pid)
        self.drivers.append(driver)
        return driver

    def command(self) -> list[str]:
        """Return what a user types."""
        overrides = [word for override in self._overrides for word in ("--set", override)]
        places = ["--storage", str(self.storage), "--tracking-uri", self.uri]
        address = [] if self._cluster is None else ["--address", self._cluster.address]
        return [sys.executable, "-m", "orchestrator.cli", "run", str(self.folder / "sweep.yaml"), "--json", *places, *overrides, *address]

    def environment(self) -> dict[str, str]:
        """Return the environment of a driver and all that it starts."""
        if self._cluster is not None:
            return {**self._cluster.environment, **self.variables()}
        foreign = ("RAY_", "MLFLOW_", "TUNE_", "FAIRSWEEP_")
        kept = {name: value for name, value in os.environ.items() if not name.startswith(foreign) or name == "FAIRSWEEP_CACHE"}
        return {**kept, "RAY_TMPDIR": str(self.folder), **self.variables()}

    def variables(self) -> dict[str, str]:
        """Return the variables that this world adds; the nodes of a cluster need them too."""
        path = [str(self.folder / "site"), str(PLUGIN), str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])]
        offline = dict.fromkeys(("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE"), "1")
        own = {"PYTHONPATH": os.pathsep.join(path), "FAIRSWEEP_FAULTS": str(self.signals), "MLFLOW_DISABLE_TELEMETRY": "true"}
        return {**offline, **own, **self._environment}

    def move_to(self, cluster: RayNodes | None) -> None:
        """Run the following drivers on the head node of a cluster; None: on this machine, without one."""
        self._cluster = cluster

    def _launch(self, environment: Mapping[str, str], answer: IO[bytes], errors: IO[bytes]) -> subprocess.Popen[Any]:
        options: dict[str, Any] = {"env": dict(environment), "stdout": answer, "stderr": errors, "stdin": subprocess.DEVNULL}
        if self._cluster is not None:
            return self._cluster.popen(self.command(), **options, start_new_session=True)
        return subprocess.Popen(self.command(), **options, start_new_session=True)

    def wait(self, condition: Callable[[], bool], driver: Driver | None = None, what: str = "an event") -> bool:
        """Wait until something is so.

        Returns:
            False when the driver ended before it was.

        Raises:
            Stuck: neither happened.
        """
        deadline = time.monotonic() + self._patience_seconds
        while True:
            ended = driver is not None and not driver.running
            self.look()
            if condition():
                return True
            if ended:
                return False
            if time.monotonic() > deadline:
                raise Stuck(f"{what} did not happen within {self._patience_seconds:.0f} s")
            time.sleep(POLL_SECONDS)

    def sleep(self, seconds: float, driver: Driver | None = None) -> bool:
        """Let time pass; False when the driver ended meanwhile."""
        until = time.monotonic() + seconds
        return self.wait(lambda: time.monotonic() >= until, driver)

    def ended(self, driver: Driver) -> int:
        """Wait for a driver's end and return its exit code."""
        self.wait(lambda: not driver.running, what=f"the end of driver {driver.number}")
        self.remember()
        assert driver.code is not None
        return driver.code

    def kill(self, driver: Driver) -> None:
        """Kill a driver, and nothing else: what it started has to end by itself."""
        self.ledger.note(driver.process.pid)
        driver.send(signal.SIGKILL)
        driver.process.wait()
        self.remember()

    def gone(self, what: str = "the processes of a killed driver") -> None:
        """Wait until nothing of what was started below this world runs any more."""
        self.wait(lambda: not self.ledger.alive(), what=f"the end of {what}")

    def finish(self, codes: Sequence[int] = (0,)) -> Driver:
        """See the sweep to its end: let a running driver go on, and give the same command again when it has not done all.

        Raises:
            Stuck: the sweep is not finished after several more starts.
        """
        for _ in range(STARTS_TO_FINISH):
            if (driver := self._done_by(codes)) is not None:
                return driver
            self.start()
        if (driver := self._done_by(codes)) is not None:
            return driver
        raise Stuck(f"{STARTS_TO_FINISH} more starts did not finish the sweep; the last one said:\n{self.drivers[-1].error_text()[-2000:]}")

    def _done_by(self, codes: Sequence[int]) -> Driver | None:
        """Wait for all drivers that run; return the last one that finished the sweep, all of it delivered."""
        ends = [(driver, self.ended(driver)) for driver in self.drivers]
        done = [driver for driver, code in ends if code in codes and not driver.document().get("undelivered")]
        return done[-1] if done else None

    def claim(self, holds: bool, violation: str) -> None:
        """Record a violation unless something holds."""
        if not holds:
            self.violations.append(violation)

    def note(self, text: str) -> None:
        """Record and show what was seen."""
        self.notes.append(text)
        self.say(text)

    # ------------------------------------------------------------------------------------------------ traps

    def set_trap(self, step: int, tickets: int = 1) -> None:
        """Make the first processes that come to a step of the method `planted` halt there."""
        for left in self.signals.iterdir():
            left.unlink()
        new = self.signals / "trap.new"
        new.write_text(json.dumps({"step": step, "tickets": tickets}))
        new.replace(self.signals / "trap.json")

    def held(self) -> list[int]:
        """Return the ids of the processes that the trap holds, or has held."""
        tickets = sorted(self.signals.glob("held.*"))
        return [int(text) for text in (ticket.read_text() for ticket in tickets) if text]

    def release(self) -> None:
        """Let go of all, and hold nobody any more."""
        (self.signals / "trap.json").unlink(missing_ok=True)
        for ticket in self.signals.glob("held.*"):
            (self.signals / f"released.{ticket.suffix[1:]}").touch()

    def steps_taken(self) -> list[tuple[int, int]]:
        """Return (process id, step) of every training step of the method `planted` since the trap was set, in order."""
        file = self.signals / "steps"
        lines = [json.loads(line) for line in file.read_text().splitlines()] if file.is_file() else []
        return [(line["process"], line["step"]) for line in lines]

    # ------------------------------------------------------------------------------------------------ watching

    def look(self) -> None:
        """Note what runs and what has finished; a finished trial that somebody begins again is a violation."""
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        for trial_id, folder in attempts(self.outcomes):
            if folder not in self._attempts and trial_id in self._finished:
                self.violations.append(f"trial {trial_id} had finished, and attempt {folder.name.rpartition('.')[2]} trained it again")
            self._attempts.add(folder)
        self._finished |= self.done()
        if now - self._noted > 1:
            self._noted = now
            for driver in self.drivers:
                if driver.running:
                    self.ledger.note(driver.process.pid)

    def remember(self) -> None:
        """Compare what has finished with what had, which must still be as it was."""
        found = read_records(self.outcomes)
        for trial_id, record in self._kept.items():
            if trial_id not in found:
                self.violations.append(f"the Outcome of {record.describe()} is gone")
            elif found[trial_id].digest != record.digest:
                attempts = f"attempt {found[trial_id].attempt} in place of {record.attempt}"
                self.violations.append(f"{record.describe()} had finished, and its Outcome was replaced: {attempts}")
        self._kept |= found

    def _furnish(self) -> None:
        self.signals.mkdir()
        metadata = self.folder / "site" / "fairsweep_planted-1.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "entry_points.txt").write_text(ENTRY_POINTS)
        (metadata / "METADATA").write_text(METADATA)
        (self.folder / "sweep.yaml").write_text(SWEEP)
