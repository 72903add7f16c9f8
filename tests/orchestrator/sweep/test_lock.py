"""Two drivers never run one sweep at once, and a dead one needs no human: by file lock, lease and, on a cluster, actor."""

from __future__ import annotations

import dataclasses
import re
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from threading import Lock, Thread, Timer

import pytest
from filelock import FileLock

from orchestrator.sweep import lease as leases
from orchestrator.sweep.holder import Holder
from orchestrator.sweep.lease import Held, lease
from orchestrator.sweep.lock import sweep_lock
from search_spaces.errors import BusyError, StorageError
from trainers.storage import Storage

HOLD = """
import sys, time
from orchestrator.sweep.lock import sweep_lock
from trainers.storage import Storage
with sweep_lock(Storage.at(sys.argv[1]), time.time()):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(params=["local", pytest.param("objects", marks=pytest.mark.services)])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """The folder of a sweep in each kind of storage."""
    if request.param == "local":
        return Storage.at(tmp_path / "sweeps" / "micro")
    return Storage.at(request.getfixturevalue("object_store").uri(uuid.uuid4().hex)) / "micro"


@pytest.fixture
def driver(folder: Storage) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock."""
    command = [sys.executable, "-c", HOLD, folder.uri]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_the_second_driver_is_told_who_the_first_one_is(
    folder: Storage, driver: subprocess.Popen[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BusyError, match=f"sweep 'micro' is already being run by process {driver.pid} on .* since 20"):
        with sweep_lock(folder, 0.0):
            pytest.fail("two hold the lock")


def test_the_lock_of_a_killed_driver_falls_at_once(folder: Storage, driver: subprocess.Popen[str]) -> None:
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    with sweep_lock(folder, 0.0):
        pass


def test_the_marker_is_there_as_long_as_the_lock_is_held(folder: Storage) -> None:
    with sweep_lock(folder, 0.0) as marker:
        Storage.at(folder.uri).require(marker)
    with pytest.raises(StorageError, match="the storage is not shared"):
        folder.require(marker)
    with sweep_lock(folder, 0.0) as later:
        assert later != marker


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError, match="cannot write"), sweep_lock(Storage.at(tmp_path / "file" / "micro"), 0.0):
        pass


def test_a_holder_of_another_machine_is_never_taken_for_gone() -> None:
    here = Holder.this(0.0)
    assert not here.is_gone()
    assert dataclasses.replace(here, born=here.born - 100).is_gone(), "the id was given again"
    assert not dataclasses.replace(here, born=here.born - 100, machine="another").is_gone()
    assert Holder.parse(here.to_json(beat=3)) == here
    assert Holder.parse(b'{"host": "x"}') is None and Holder.parse(None) is None and Holder.parse(b"[]") is None


# The lease needs no object store: its rules are the same wherever files can be written and listed.


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in {"BEAT_SECONDS": 0.2, "LEASE_SECONDS": 2.0, "LOOK_SECONDS": 0.05}.items():
        monkeypatch.setattr(leases, name, seconds)


def elsewhere() -> Holder:
    """A driver on another machine."""
    return dataclasses.replace(Holder.this(0.0), machine=uuid.uuid4().hex, host="elsewhere")


@pytest.mark.usefixtures("hasty")
def test_a_lease_that_is_renewed_is_respected(tmp_path: Path) -> None:
    claims = Storage.at(tmp_path)
    with lease(claims, "a.json", elsewhere()):
        with pytest.raises(Held, match="on elsewhere since"), lease(claims, "b.json", elsewhere()):
            pass
        assert claims.names() == ["a.json"]
    with lease(claims, "b.json", elsewhere()):
        pass
    assert claims.names() == []


@pytest.mark.usefixtures("hasty")
def test_a_lease_that_is_not_renewed_runs_out(tmp_path: Path) -> None:
    claims = Storage.at(tmp_path)
    (claims / "dead.json").write(elsewhere().to_json(beat=7))
    begun = time.monotonic()
    with lease(claims, "b.json", elsewhere()):
        assert claims.names() == ["b.json"]
    assert time.monotonic() - begun >= leases.LEASE_SECONDS


@pytest.mark.usefixtures("hasty")
def test_a_driver_that_was_taken_for_gone_stops(tmp_path: Path) -> None:
    claims = Storage.at(tmp_path)

    def stand_still() -> None:
        with lease(claims, "a.json", elsewhere()):
            (claims / "a.json").remove()
            time.sleep(60)

    # Shells have SIGINT ignored in what they run in the background.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            stand_still()
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("hasty")
def test_of_drivers_that_come_at_the_same_moment_one_at_a_time_goes_on(tmp_path: Path) -> None:
    claims, inside, most, guard, done = Storage.at(tmp_path), 0, 0, Lock(), []

    def drive(number: int) -> None:
        nonlocal inside, most
        with ExitStack() as stack:
            try:
                stack.enter_context(lease(claims, f"{number}.json", elsewhere()))
            except Held:
                done.append("busy")
                return
            with guard:
                inside += 1
                most = max(most, inside)
            time.sleep(1.0)
            with guard:
                inside -= 1
            done.append("ran")

    threads = [Thread(target=drive, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1 and "ran" in done and len(done) == 4


def test_a_driver_that_has_only_just_taken_the_lock_is_named(tmp_path: Path) -> None:
    folder = Storage.at(tmp_path / "micro")
    with sweep_lock(folder, 1.0):
        pass  # an earlier run, of whom nothing must be told
    holder = Holder.this(0.0)
    with FileLock(tmp_path / "micro" / "driver.lock"):
        late = Timer(0.5, lambda: (folder / "driver.json").write(holder.to_json()))
        late.start()
        with pytest.raises(BusyError, match=f"by process {holder.process} on .* since {re.escape(holder.since)}"), sweep_lock(folder, 0.0):
            pass
        late.join()
