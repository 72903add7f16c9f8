"""A sweep of groups of two over a real cluster of three nodes with one CPU each: one node is lost in the middle."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.services.network import namespaces_available
from tests.services.ray_nodes import RayNodes
from tests.services.required import required

pytestmark = pytest.mark.services

SWEEP = {
    "name": "micro",
    "model": "micro-llama",
    "tasks": ["squad"],
    "data": {"source": "embedded", "train": 12, "selection": 4, "test": 4},
    "methods": {"lora": {"rank": [2]}},
    "targets": ["q", "v"],
    "grid": {"learning_rate": [1e-3, 1e-2]},
    "training": {"steps": 40, "batch_size": 4, "max_length": 220, "max_new_tokens": 4, "checkpoint": {"best": "loss", "evaluations": 1}},
    "seeds": {"select": [100], "report": [0]},
    "resources": {"cpus": 1, "workers": 2},
}
RESERVED = """
import json, ray
from ray.util.placement_group import placement_group_table
ray.init(address="auto", log_to_driver=False)
alive = [entry["state"] for entry in placement_group_table().values() if entry["state"] != "REMOVED"]
print(json.dumps({"groups": alive, "cpus": ray.available_resources().get("CPU", 0)}))
"""


@pytest.fixture(scope="module")
def nodes() -> Iterator[RayNodes]:
    required(namespaces_available(), "nodes with addresses of their own need root and the package iproute2")
    with RayNodes(3, cpus_each=1, environment={"MLFLOW_DISABLE_TELEMETRY": "true"}) as cluster:
        yield cluster


def command(folder: Path) -> list[str]:
    (folder / "sweep.yaml").write_text(yaml.safe_dump(SWEEP))
    storage = ["--storage", str(folder / "sweeps"), "--tracking-uri", f"sqlite:///{folder}/mlflow.db"]
    return [sys.executable, "-m", "orchestrator.cli", "run", str(folder / "sweep.yaml"), "--address", "auto", "--json", *storage]


def outcomes(folder: Path) -> dict[str, dict[str, Any]]:
    """What two runs of the sweep must agree on, by trial."""
    files = (folder / "sweeps" / "micro" / "outcomes").glob("[!.]*/outcome.json")
    found = [json.loads(file.read_text()) for file in files]
    return {outcome["trial_id"]: {key: outcome[key] for key in ("status", "metrics", "curves", "best_step", "usage")} for outcome in found}


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 300
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.05)


def trains(nodes: RayNodes, number: int) -> bool:
    """Tell whether a rank of a trial is at work on a node."""
    commands = []
    for process in nodes.processes(number):
        try:
            commands.append(" ".join(process.cmdline()))
        except psutil.NoSuchProcess:
            continue
    return any("ray::Member.run" in line for line in commands)


def test_a_sweep_of_groups_survives_the_loss_of_a_node(nodes: RayNodes, tmp_path: Path) -> None:
    calm, stormy = tmp_path / "calm", tmp_path / "stormy"
    calm.mkdir()
    stormy.mkdir()
    done = nodes.run(command(calm), timeout=600)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["finished"] == 4

    with (stormy / "out").open("w") as output, (stormy / "err").open("w") as errors:
        driver = nodes.popen(command(stormy), stdout=output, stderr=errors)
        wait_for(lambda: len(outcomes(stormy)) >= 1)
        wait_for(lambda: any(trains(nodes, number) for number in (1, 2)))
        nodes.kill(next(number for number in (1, 2) if trains(nodes, number)))
        assert driver.wait(timeout=600) == 0, (stormy / "err").read_text()
    printed = json.loads((stormy / "out").read_text())
    assert (printed["finished"], printed["failed"], printed["skipped"]) == (4, 0, 0)
    assert outcomes(stormy) == outcomes(calm)
    assert "handed out again" in (stormy / "err").read_text(), "the loss hit a trial"

    reserved = nodes.run([sys.executable, "-c", RESERVED])
    assert json.loads(reserved.stdout.splitlines()[-1]) == {"groups": [], "cpus": 2.0}, reserved.stderr
