"""A search through Ray: killed in the middle it goes on, and ends with the same points and the same numbers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.orchestrator.sweep.conftest import Workplace

Ended = Callable[[subprocess.Popen[str]], subprocess.Popen[str]]

SWEEP = """
name: micro
model: micro-bert
tasks: [stsb]
data: {source: embedded, train: 12, selection: 6, test: 4}
methods:
  lora: {rank: [2]}
  lorta: {rank: [2]}
targets: [q, v]
grid: {learning_rate: {log_uniform: [1.0e-4, 1.0e-1]}, scale: {uniform: [0.5, 4.0]}}
search: {algorithm: optuna, trials: 6, startup: 2, batch: 2, accept_edge: true}
training: {steps: 12, batch_size: 4, max_length: 64, checkpoint: {best: loss, evaluations: 1}}
seeds: {select: [100], report: [0]}
"""


def place(folder: Path) -> Workplace:
    folder.mkdir(exist_ok=True)
    (folder / "sweep.yaml").write_text(SWEEP)
    return Workplace(folder)


def selects(listed: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    return {label: [t["point"] for t in listed if t["phase"] == "select" and t["method"] == label] for label in ("lora", "lorta")}


@pytest.mark.slow
def test_a_search_that_is_killed_goes_on_where_it_was(tmp_path: Path, ended: Ended) -> None:
    whole = place(tmp_path / "whole")
    done = whole.json("run", "sweep.yaml", "--json")
    assert (done["trials"], done["finished"]) == (15, 15) and done["certificate"]["ok"]
    killed = place(tmp_path / "killed")
    process = ended(killed.start("run", "sweep.yaml", "--json"))
    # Beyond the two start-up points of both methods and the untuned model: a search has been told scores.
    while len(killed.outcomes()) < 7 and process.poll() is None:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert 7 <= len(killed.outcomes()) < 15
    again = killed.json("run", "sweep.yaml", "--json")
    assert again["skipped"] >= 7 and again["finished"] == 15 and again["certificate"]["ok"]
    assert killed.outcomes() == whole.outcomes()

    points = selects(whole.json("runs", "micro", "--json"))
    assert [len(found) for found in points.values()] == [6, 6]
    shared = [point for point in points["lora"] if point in points["lorta"]]
    assert 2 <= len(shared) < 6, "the start-up points are the same, the later ones follow the scores"
    audited = whole.run("audit", "micro", "--json")
    assert audited.returncode == 0 and json.loads(audited.stdout)["rules"][0]["evidence"]["algorithm"] == "optuna"
    assert not list(tmp_path.rglob("*optuna*")), "studies are held in memory"
