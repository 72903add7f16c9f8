"""A packed sweep as its user sees it: real Ray, real DeepSpeed, real MLflow; several trials in one process."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.tracking.connection import connect

Ended = Callable[[subprocess.Popen[str]], subprocess.Popen[str]]
PACKED = ("--set", "packing=4")
CLOSE = {"rel": 1e-4, "abs": 1e-6}
"""A joint pass may round otherwise than one alone; ten steps carry that on."""


@pytest.fixture(scope="module")
def packed(undisturbed: tuple[Any, dict[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Any]]:
    """The sweep, packed, from beginning to end, and what it printed."""
    place = type(undisturbed[0])(tmp_path_factory.mktemp("packed"))
    (place.folder / "sweep.yaml").write_text((undisturbed[0].folder / "sweep.yaml").read_text())
    return place, place.json("run", "sweep.yaml", "--json", *PACKED)


def executions(folder: Path) -> list[dict[str, Any]]:
    files = (folder / "fairsweep" / "sweeps" / "micro" / "outcomes").glob("[!.]*/outcome.json")
    return [json.loads(file.read_text())["environment"]["execution"] for file in files]


def assert_same_numbers(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for trial_id, outcome in expected.items():
        for key in ("status", "usage", "data_digests", "counts", "best_step"):
            assert found[trial_id][key] == outcome[key]
        assert found[trial_id]["metrics"] == pytest.approx(outcome["metrics"], **CLOSE)
        for name, curve in outcome["curves"].items():
            steps, values = zip(*curve, strict=True)
            assert [step for step, _ in found[trial_id]["curves"][name]] == list(steps)
            assert [value for _, value in found[trial_id]["curves"][name]] == pytest.approx(list(values), **CLOSE)


def test_a_packed_sweep_has_the_numbers_of_an_unpacked_one(packed: tuple[Any, dict[str, Any]], undisturbed: tuple[Any, Any]) -> None:
    place, printed = packed
    assert (printed["finished"], printed["failed"]) == (9, 0)
    assert_same_numbers(place.outcomes(), undisturbed[0].outcomes())
    chosen = [{row["method"]: row["tasks"]["squad"]["selected"] for row in found["leaderboard"]} for found in (printed, undisturbed[1])]
    assert chosen[0] == chosen[1]
    found = executions(place.folder)
    assert {execution["packed"] for execution in found} == {4}, "the untuned model's too"
    assert len({execution["process"] for execution in found}) == 1
    rows = printed["leaderboard"]
    assert all(row["seconds_per_step"] is None and row["peak_bytes"] is None and row["packed"] == 4 for row in rows)


def test_the_audit_sees_how_trials_were_packed(packed: tuple[Any, dict[str, Any]]) -> None:
    place, _ = packed
    audited = place.json("audit", "micro", "--json")
    rule = next(rule for rule in audited["certificate"]["rules"] if rule["id"] == "F10") if "certificate" in audited else None
    rule = rule or next(rule for rule in audited["rules"] if rule["id"] == "F10")
    assert audited["ok"] and set(map(tuple, rule["evidence"]["packed"].values())) == {(4,)}
    client = connect(f"sqlite:///{place.folder}/fairsweep/mlflow.db")
    experiment = client.get_experiment_by_name("fairsweep/micro")
    assert experiment is not None
    run = client.search_runs([experiment.experiment_id], "tags.`fairsweep.phase` = 'select'")[0]
    (name,) = [name for name, value in run.data.tags.items() if '"packed"' in value]
    whole = run.data.tags[name]
    assert '"packed":4' in whole.replace(" ", "")
    client.set_tag(run.info.run_id, name, whole.replace('"packed":4', '"packed":1').replace('"packed": 4', '"packed": 1'))
    try:
        done = place.run("audit", "micro", "--json")
    finally:
        client.set_tag(run.info.run_id, name, whole)
    assert done.returncode == 1
    (broken,) = [rule for rule in json.loads(done.stdout)["rules"] if not rule["ok"]]
    assert broken["id"] == "F10" and any("packed 1 wide" in text for text in broken["evidence"]["deviations"])


def wait_for(condition: Callable[[], bool], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)


def begun(folder: Path) -> int:
    """Number of attempts that have a folder for their files."""
    return len(list((folder / "fairsweep" / "sweeps" / "micro" / "outcomes").glob(".*")))


@pytest.mark.slow
def test_a_killed_pack_and_a_killed_driver_cost_no_trial(workplace: Any, packed: tuple[Any, dict[str, Any]], ended: Ended) -> None:
    process = ended(workplace.start("run", "sweep.yaml", *PACKED))
    wait_for(lambda: begun(workplace.folder) >= 4)
    members = [p for p in psutil.Process(process.pid).children(recursive=True) if "Member" in " ".join(p.cmdline())]
    assert members
    members[0].kill()
    wait_for(lambda: len(workplace.outcomes()) >= 2)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate(timeout=120)
    kept = set(workplace.outcomes())
    printed = workplace.json("run", "sweep.yaml", "--json", *PACKED)
    assert printed["finished"] == 9 and printed["skipped"] == len(kept) < 9
    assert_same_numbers(workplace.outcomes(), packed[0].outcomes())
    assert [row["method"] for row in printed["leaderboard"]] == [row["method"] for row in packed[1]["leaderboard"]]
