"""A halved sweep through Ray: the same numbers as the full grid where both ran, the same survivors after a kill, and a sound audit."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.orchestrator.sweep.conftest import Workplace

pytestmark = pytest.mark.slow

SWEEP = """
name: micro
model: micro-llama
tasks: [copa]
data: {source: embedded, train: 16, selection: 8, test: 8}
methods:
  full: {}
  ia3: {}
targets: [q, v]
grid: {learning_rate: [1.0e-3, 1.0e-2, 1.0e-1, 1.0e+30]}
training: {steps: 12, batch_size: 4, max_length: 64, checkpoint: {best: loss, evaluations: 6}}
halving: {reduction: 2, min_steps: 2}
seeds: {select: [100, 101], report: [0]}
search: {accept_edge: true}
"""
Ended = Callable[[subprocess.Popen[str]], subprocess.Popen[str]]


def folder(place: Any) -> Path:
    return Path(place.folder) / "fairsweep" / "sweeps" / "micro"


def named(place: Any) -> dict[tuple[Any, ...], dict[str, Any]]:
    """Outcomes by what they are of, without what differs from run to run."""
    found = {}
    for file in (folder(place) / "outcomes").glob("[!.]*/outcome.json"):
        trial, outcome = json.loads((file.parent / "trial.json").read_text()), json.loads(file.read_text())
        key = (trial["phase"], trial["label"], trial["training"]["learning_rate"], trial["seed"])
        found[key] = {k: outcome[k] for k in ("status", "metrics", "curves", "best_step", "usage", "data_digests", "counts")}
    return found


@pytest.fixture(scope="module")
def halved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, dict[str, Any]]:
    place = Workplace(tmp_path_factory.mktemp("halved"))
    (place.folder / "sweep.yaml").write_text(SWEEP)
    done = place.run("run", "sweep.yaml", "--json")
    assert done.returncode == 1, done.stderr  # a diverged trial is a failure that a run tells of
    return place, json.loads(done.stdout)


def test_survivors_have_the_numbers_of_the_full_grid(halved: tuple[Any, dict[str, Any]], workplace: Any) -> None:
    (workplace.folder / "sweep.yaml").write_text(SWEEP)
    assert workplace.run("run", "sweep.yaml", "--set", "halving=null").returncode == 1
    full, part = named(workplace), named(halved[0])
    assert set(full) >= {key for key in part if key[0] == "select"}
    for key, outcome in part.items():
        if key[0] == "report" and key not in full:
            continue
        whole = full[key]
        for name, curve in outcome["curves"].items():
            assert curve == whole["curves"][name][: len(curve)], (key, name)
        if outcome["status"] == "finished":
            own = {name: value for name, value in outcome["metrics"].items() if "/rung-" not in name}
            assert {**outcome, "metrics": own} == whole, key


def test_every_method_spends_the_same_and_the_audit_says_so(halved: tuple[Any, dict[str, Any]]) -> None:
    place, printed = halved
    outcomes = named(place)
    ends = {
        label: Counter((o["status"], o["usage"]["steps"]) for key, o in outcomes.items() if key[:2] == ("select", label))
        for label in ("full", "ia3")
    }
    # Of four points two go on, and one of them to the end; with full fine-tuning the largest rate diverges at once.
    assert all(found["finished", 12] == 2 and found["pruned", 4] == 2 for found in ends.values()), ends
    assert ends["ia3"]["pruned", 2] == 4 and ends["full"]["pruned", 2] == 2
    assert sum(count for (status, _), count in ends["full"].items() if status == "diverged") == 2
    assert printed["pruned"] == 10 and printed["failed"] == 2
    audit = place.json("audit", "micro", "--json")
    halving = next(rule for rule in audit["rules"] if rule["id"] == "F4")["evidence"]["halving"]
    assert audit["ok"] and {row["finished"] for row in halving["observed"].values()} == {2}
    lines = place.json("runs", "micro", "--json")
    assert Counter(line["status"] for line in lines)["pruned"] == 10
    assert not any("test/" in name for o in outcomes.values() if o["status"] == "pruned" for name in o["metrics"])
    rows = {row["method"]: row for row in printed["leaderboard"]}
    assert all(rows[label]["tasks"]["copa"]["finished"] == 1 for label in ("full", "ia3"))


def run_through_kills(place: Any, ended: Ended) -> dict[str, Any]:
    """Kill the driver at two rungs, and let the same command go on; return what it prints in the end."""
    for step, count in (("2", 3), ("4", 2)):
        process = ended(place.start("run", "sweep.yaml"))
        deadline = time.monotonic() + 200
        while len(list((folder(place) / "rungs" / step).glob("[!.]*"))) < count:
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)
        process.communicate(timeout=120)
    printed: dict[str, Any] = json.loads(place.run("run", "sweep.yaml", "--json").stdout)
    return printed


def test_a_killed_driver_goes_on_from_the_rungs_with_the_same_numbers(
    halved: tuple[Any, dict[str, Any]], workplace: Any, ended: Ended
) -> None:
    (workplace.folder / "sweep.yaml").write_text(SWEEP)
    printed = run_through_kills(workplace, ended)
    assert named(workplace) == named(halved[0])
    assert printed["pruned"] == 10
    assert workplace.json("audit", "micro", "--json")["ok"]
    assert any("rungs" in line for line in workplace.run("clean", "micro").stdout.splitlines())


def test_a_killed_driver_goes_on_with_packs_too(tmp_path: Path, ended: Ended) -> None:
    text = SWEEP.replace("full: {}", "lora: {rank: 2}") + "packing: 4\n"
    whole, killed = (Workplace(tmp_path / name) for name in ("whole", "killed"))
    for place in (whole, killed):
        place.folder.mkdir()
        (place.folder / "sweep.yaml").write_text(text)
    whole.run("run", "sweep.yaml")
    printed = run_through_kills(killed, ended)
    numbers, expected = named(killed), named(whole)
    assert numbers.keys() == expected.keys() and printed["pruned"] == sum(o["status"] == "pruned" for o in expected.values()) > 0
    for key, outcome in expected.items():
        # Which lanes share a pass after a kill is another matter, and with it the last digits.
        assert numbers[key]["metrics"] == pytest.approx(outcome["metrics"], rel=1e-4), key
        assert [numbers[key][name] for name in ("status", "usage", "best_step")] == [outcome[n] for n in ("status", "usage", "best_step")]
    assert killed.json("audit", "micro", "--json")["ok"]
