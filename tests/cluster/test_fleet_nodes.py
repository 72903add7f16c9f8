"""A fleet on a real cluster of three nodes with one CPU each, so that a group of two spans nodes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.nodes_driver import ANSWER
from tests.services.network import namespaces_available
from tests.services.ray_nodes import RayNodes
from tests.services.required import required

pytestmark = pytest.mark.services

PATIENCE = 240.0


@pytest.fixture(scope="module")
def nodes() -> Iterator[RayNodes]:
    required(namespaces_available(), "nodes with addresses of their own need root and the package iproute2")
    with RayNodes(3, cpus_each=1) as cluster:
        yield cluster


class Driver:
    """The driver of a fleet, in the head's namespace."""

    def __init__(self, nodes: RayNodes, folder: Path, workers: int, groups: int) -> None:
        command = [sys.executable, "-m", "tests.cluster.nodes_driver", str(folder), str(workers), str(groups)]
        self.process = nodes.popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def send(self, *words: object) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(" ".join(map(str, words)) + "\n")
        self.process.stdin.flush()

    def answer(self) -> Any:
        assert self.process.stdout is not None
        answers = (line.removeprefix(ANSWER) for line in self.process.stdout if line.startswith(ANSWER))
        return json.loads(next(answers))

    def ask(self, *words: object) -> Any:
        self.send(*words)
        return self.answer()

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait(timeout=PATIENCE)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.5)


LEFT = """
import json, ray
from ray.util.placement_group import placement_group_table
ray.init(address="auto", log_to_driver=False)
groups = [entry["state"] for entry in placement_group_table().values() if entry["state"] != "REMOVED"]
print(json.dumps({"groups": groups, "cpus": ray.available_resources().get("CPU", 0)}))
"""


def left(nodes: RayNodes) -> dict[str, Any]:
    """What is reserved on the cluster."""
    done = nodes.run([sys.executable, "-c", LEFT])
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def test_a_group_that_loses_a_node_is_placed_on_what_is_left_and_waits_when_nothing_is(nodes: RayNodes, tmp_path: Path) -> None:
    driver = Driver(nodes, tmp_path, workers=2, groups=1)
    wait_for(lambda: driver.ask("ready") == [0])
    first = driver.ask("nodes", 0)
    assert len(set(first)) == 2, "one CPU each: the group spans nodes"
    joined = {path.read_text().rpartition(" ")[2] for path in tmp_path.glob("joined.*")}
    assert "lo" not in joined, "the ranks meet over the nodes' network"
    lost = [nodes.addresses.index(address) for address in first if address != nodes.addresses[0]][-1]
    driver.send("run", 0, 600)
    wait_for(lambda: len(list(tmp_path.glob("ran.*"))) == 2)
    nodes.kill(lost)
    ending = driver.answer()
    assert ending["broken"] and "Actor" in ending["reason"], ending
    driver.ask("start", 0)
    wait_for(lambda: driver.ask("ready") == [0])
    second = driver.ask("nodes", 0)
    assert nodes.addresses[lost] not in second and len(set(second)) == 2
    assert driver.ask("run", 0, 1) == {"reason": "", "broken": False}

    other = next(number for number in (1, 2) if number != lost)
    nodes.terminate(other)
    ending = driver.ask("run", 0, 1)
    assert ending["broken"]
    driver.ask("start", 0)
    time.sleep(5)
    assert driver.ask("ready") == [], "one node with one CPU is left for two ranks"
    nodes.start(lost)
    wait_for(lambda: driver.ask("ready") == [0])
    assert driver.ask("run", 0, 1) == {"reason": "", "broken": False}
    driver.end()
    assert driver.process.returncode == 0
    nodes.start(other)
    wait_for(lambda: left(nodes) == {"groups": [], "cpus": 3.0})


def test_nothing_stays_on_the_cluster_when_the_driver_is_killed(nodes: RayNodes, tmp_path: Path) -> None:
    driver = Driver(nodes, tmp_path, workers=3, groups=1)
    wait_for(lambda: driver.ask("ready") == [0])
    assert driver.ask("groups").count("CREATED") == 1
    assert left(nodes)["cpus"] == 0
    driver.send("run", 0, 600)
    wait_for(lambda: len(list(tmp_path.glob("ran.*"))) == 3)
    os.kill(driver.process.pid, signal.SIGKILL)
    driver.process.wait()
    wait_for(lambda: left(nodes) == {"groups": [], "cpus": 3.0})
