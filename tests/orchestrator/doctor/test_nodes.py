"""The doctor on three real Ray nodes: one does not see the storage, one hangs, one is lost."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.services.network import namespaces_available
from tests.services.ray_nodes import RayNodes
from tests.services.required import required

pytestmark = pytest.mark.services


@pytest.fixture(scope="module")
def nodes() -> Iterator[RayNodes]:
    required(namespaces_available(), "network namespaces need root and iproute2")
    with RayNodes(3) as started:
        yield started


def doctor(nodes: RayNodes, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "orchestrator.cli", "doctor", "--address", nodes.address, "--json", *arguments]
    done = nodes.run(command)
    assert done.returncode in (0, 1), done.stderr
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["ok"] == (done.returncode == 0)
    return document


def at(document: dict[str, Any], check: str, node: str | None) -> list[tuple[str, str]]:
    return [(found["level"], found["seen"]) for found in document["findings"] if (found["check"], found["node"]) == (check, node)]


def test_three_nodes(nodes: RayNodes, tmp_path: Path) -> None:
    head, second, third = nodes.addresses
    places = ("--storage", str(tmp_path / "sweeps"), "--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db")
    document = doctor(nodes, "quickstart", "--set", "models=[micro-llama]", *places)
    assert sorted(node["address"] for node in document["nodes"]) == sorted(nodes.addresses)
    for check in ("versions", "processors", "clock", "network", "gpus", "deepspeed", "model memory"):
        assert [level for node in (head, second, third) for level, _ in at(document, check, node)] == ["ok"] * 3, check
    assert [level for level, _ in at(document, "ports", None)] == ["ok"]
    assert [level for level, _ in at(document, "storage", None)] == ["ok"] and not (tmp_path / "sweeps").exists()
    ((level, seen),) = at(document, "tracking shared", None)
    assert level == "failure" and "several nodes" in seen
    ((level, _),) = at(document, "authentication", None)
    assert level == "warning"

    _hide(nodes, 2, tmp_path)
    nodes.kill(1)
    document = doctor(nodes, *places, "--timeout", "45")
    ((level, seen),) = at(document, "storage", third)
    assert level == "failure" and "does not see what the driver wrote" in seen
    ((level, _),) = at(document, "answers", second)
    assert level in ("failure", "warning"), "silent at first; lost once Ray has noticed"
    assert at(document, "versions", head)[0][0] == "ok"

    for process in nodes.processes(2):
        process.suspend()
    document = doctor(nodes, *places, "--timeout", "5")
    ((level, seen),) = at(document, "answers", third)
    assert level == "failure" and "5 seconds" in seen


def _hide(nodes: RayNodes, number: int, folder: Path) -> None:
    """Let a node see an empty folder in the place of one: its processes have a mount space of their own."""
    (root,) = [process for process in nodes.processes(number) if process.ppid() not in {other.pid for other in nodes.processes(number)}]
    command = ["nsenter", "--target", str(root.pid), "--mount", "mount", "-t", "tmpfs", "tmpfs", str(folder)]
    subprocess.run(command, check=True)
