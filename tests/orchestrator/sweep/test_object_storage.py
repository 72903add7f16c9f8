"""Sweeps whose storage is a bucket: the machine that ran them can go, and what is in the bucket goes on elsewhere."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.services.object_store import ObjectStore
from trainers.outcomes import OutcomeStore
from trainers.storage import Storage

pytestmark = pytest.mark.services

Ended = Callable[[subprocess.Popen[str]], subprocess.Popen[str]]
SECRET = "planted-secret-of-the-object-store"


def compared(store: OutcomeStore) -> dict[str, dict[str, Any]]:
    """Outcomes by trial id, without what differs from run to run; as `Workplace.outcomes` gives those of a folder."""
    found = {}
    for trial_id in store.ids():
        outcome = store.read(trial_id)
        assert outcome is not None
        content = json.loads(outcome.model_dump_json())
        found[trial_id] = {k: content[k] for k in ("status", "metrics", "curves", "best_step", "usage", "data_digests", "counts")}
    return found


def wait_for(store: OutcomeStore, enough: int) -> None:
    deadline = time.monotonic() + 180
    while len(list(store.ids())) < enough:
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.2)


def test_a_sweep_in_a_bucket_outlives_its_machine(
    workplace: Any, undisturbed: tuple[Any, dict[str, Any]], object_store: ObjectStore, ended: Ended, tmp_path: Path
) -> None:
    uri = object_store.uri("lost-head")
    store = OutcomeStore(Storage.at(uri) / "micro" / "outcomes")
    process = ended(workplace.start("run", "sweep.yaml", "--storage", uri))
    wait_for(store, 2)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    kept = set(store.ids())
    (tmp_path / "elsewhere").mkdir()
    elsewhere = type(workplace)(tmp_path / "elsewhere")
    (elsewhere.folder / "sweep.yaml").write_text((workplace.folder / "sweep.yaml").read_text())
    done = elsewhere.run("run", "sweep.yaml", "--json", "--storage", uri)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout)
    assert printed["finished"] == 9 and 9 > printed["skipped"] >= len(kept) >= 2
    assert compared(store) == undisturbed[0].outcomes()
    assert {row["method"] for row in printed["leaderboard"]} == {"base", "lora", "lorta"}
    assert SECRET not in done.stdout + done.stderr

    lora = next(row for row in printed["leaderboard"] if row["method"] == "lora")
    assert elsewhere.run("export", lora["runs"][0], "--format", "lora", "--out", "adapter").returncode == 0
    assert len(elsewhere.json("runs", "micro", "--json")) == 9
    again = elsewhere.json("run", "sweep.yaml", "--json", "--storage", uri)
    assert (again["skipped"], again["train_seconds"]) == (9, 0)
    (Storage.at(uri) / "micro" / "checkpoints" / "t" / "000000001" / "a" / "state").write(b"left")
    assert any("checkpoints" in folder for folder in elsewhere.json("clean", "micro", "--json", "--storage", uri)["removed"])
    assert compared(store) == undisturbed[0].outcomes()
    assert not list(elsewhere.folder.glob("fairsweep/sweeps"))


def test_a_bucket_that_fills_up_stops_the_sweep_and_running_again_continues(
    workplace: Any, undisturbed: tuple[Any, dict[str, Any]], object_store: ObjectStore, ended: Ended
) -> None:
    uri = object_store.uri("quota")
    store = OutcomeStore(Storage.at(uri) / "micro" / "outcomes")
    process = ended(workplace.start("run", "sweep.yaml", "--storage", uri))
    wait_for(store, 2)
    object_store.fill()
    try:
        _, errors = process.communicate(timeout=180)
    finally:
        object_store.free()
    assert process.returncode == 2, errors
    assert "no space left at s3://sweeps/quota/micro" in errors and "run the same command again" in errors and "Traceback" not in errors
    printed = workplace.json("run", "sweep.yaml", "--json", "--storage", uri)
    assert printed["finished"] == 9 and printed["skipped"] >= 2
    assert compared(store) == undisturbed[0].outcomes()


def test_a_bucket_that_cannot_be_had_is_told_before_anything_is_trained(workplace: Any, object_store: ObjectStore) -> None:
    for location, told in (
        (object_store.uri("x").replace("//sweeps", "//elsewhere"), "make the bucket"),
        ("s3://key:hunter2@sweeps/x", "holds a credential"),
        ("ftp://host/x", "Valid: a path"),
    ):
        done = workplace.run("run", "sweep.yaml", "--storage", location)
        assert done.returncode == 2 and told in done.stderr and "Traceback" not in done.stderr, done.stderr
        assert "hunter2" not in done.stderr and len(done.stderr.strip().splitlines()) == 1
