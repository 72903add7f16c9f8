"""Checks of machines: each on a real report of this one, with one thing put wrong."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from cluster.doctor import CHECKS
from cluster.examination import Examination, Finding, NodeReport, findings
from cluster.machine import Disk, Machine, code_digest, examine
from cluster.network import Interface, interface_of, listen, reach
from cluster.questions import Node, Offset
from cluster.resources import TrialResources

GIB = 2**30
ETH0 = Interface(name="eth0", address="10.0.0.2", loopback=False)


@pytest.fixture(scope="module")
def here() -> Machine:
    return Machine.model_validate(examine(["ray", "torch", "pytest"], {"storage": "/tmp/not/there/yet"}))


def node(address: str = "10.0.0.2", **changes: Any) -> Node:
    return Node(**{"name": address, "id": address, "address": address, "resources": {"CPU": 4, "memory": 8 * GIB}, **changes})


def cluster(here: Machine, *reports: NodeReport, **changes: Any) -> Examination:
    good = NodeReport(
        node("10.0.0.1"), here.model_copy(update={"interface": ETH0}), Offset(0.001, 0.002), authentication=True, facts={}, errors={}
    )
    return Examination(driver=here, nodes=(good, *reports), clustered=True, decisive=frozenset({"python", "torch", "ray"}), **changes)


def of(here: Machine, **changes: Any) -> NodeReport:
    return NodeReport(node(), here.model_copy(update={"interface": ETH0, **changes}), Offset(0.001, 0.002), authentication=True)


def judged(examination: Examination, check: str, name: str | None = "10.0.0.2") -> list[Finding]:
    return [found for found in findings(CHECKS, examination) if found.check == check and found.node == name]


def only(examination: Examination, check: str, name: str | None = "10.0.0.2") -> Finding:
    (found,) = judged(examination, check, name)
    assert found.level == "ok" or found.fix, "what is wrong comes with its fix"
    return found


def test_a_cluster_of_equal_machines_is_fit(here: Machine) -> None:
    found = findings(CHECKS, cluster(here, of(here), unreached={}, demand=TrialResources(cpus=2)))
    assert {finding.level for finding in found} == {"ok"}
    assert {"versions", "processors", "disk", "clock", "network", "ports", "authentication", "room"} == {finding.check for finding in found}


@pytest.mark.parametrize(("library", "level"), [("torch", "failure"), ("ray", "failure"), ("pytest", "warning")])
def test_another_version_on_a_node(here: Machine, library: str, level: str) -> None:
    found = only(cluster(here, of(here, versions={**here.versions, library: "0.1"})), "versions")
    assert found.level == level and f"{library} 0.1" in found.seen and here.versions[library] in found.fix


def test_a_library_that_a_node_lacks(here: Machine) -> None:
    versions = {name: version for name, version in here.versions.items() if name != "torch"}
    assert only(cluster(here, of(here, versions=versions)), "versions").seen.startswith("torch none")


@pytest.mark.parametrize(("requirement", "word"), [("torch>=99", "required is >=99"), ("nowhere-to-be-found", "is not installed")])
def test_a_requirement_that_is_not_met(here: Machine, requirement: str, word: str) -> None:
    requirements = [requirement, "ray[tune]>=2.0", "absent; python_version < '3'"]
    found = only(cluster(here, of(here), requirements=requirements), "requirements")
    assert found.level == "failure" and word in found.seen and "pip install" in found.fix


def test_other_code_on_a_node(here: Machine) -> None:
    found = only(cluster(here, of(here, code="0123")), "code")
    assert found.level == "failure" and "0123" in found.seen and "submit" in found.fix


def test_the_code_digest_follows_the_modules(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "small_room").mkdir()
    module = tmp_path / "small_room" / "__init__.py"
    module.write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    empty = code_digest(["small_room"])
    module.write_text("x = 1\n")
    assert code_digest(["small_room"]) not in (empty, code_digest([]))


@pytest.mark.parametrize(("free", "level"), [(100 * GIB, "ok"), (2 * GIB, "warning"), (2**20, "failure")])
def test_free_disk(here: Machine, free: int, level: str) -> None:
    disks = {"cache": Disk(folder="/cache", free_bytes=free, total_bytes=200 * GIB)}
    found = only(cluster(here, of(here, disks=disks)), "disk")
    assert found.level == level and ("FAIRSWEEP_CACHE" in found.fix) == (level != "ok")


def test_the_disk_of_a_folder_that_is_not_there_yet_is_that_of_the_folder_above(here: Machine) -> None:
    assert here.disks["storage"].folder == "/tmp" and here.disks["storage"].free_bytes > 0


def test_memory_that_is_used_up(here: Machine) -> None:
    assert only(cluster(here, of(here, available_bytes=2**20)), "processors").level == "warning"


@pytest.mark.parametrize(("seconds", "level"), [(0.2, "ok"), (-3.0, "warning"), (90.0, "failure"), (1.5, "ok")])
def test_clock_skew(here: Machine, seconds: float, level: str) -> None:
    uncertainty = 0.6 if seconds == 1.5 else 0.01
    found = only(cluster(here, replace(of(here), offset=Offset(seconds, uncertainty))), "clock")
    assert found.level == level and ("behind" in found.seen) == (seconds < 0)


def test_a_node_on_loopback_in_a_cluster_of_several(here: Machine) -> None:
    interface = Interface(name="lo", address="127.0.0.1", loopback=True)
    lone = NodeReport(node("127.0.0.1"), here.model_copy(update={"interface": interface}))
    found = only(cluster(here, lone), "network", "127.0.0.1")
    assert found.level == "failure" and "--node-ip-address" in found.fix
    alone = Examination(driver=here, nodes=(lone,), clustered=True)
    assert only(alone, "network", "127.0.0.1").level == "ok"


def test_an_address_that_no_interface_holds(here: Machine) -> None:
    assert only(cluster(here, of(here, interface=None)), "network").level == "failure"


@pytest.mark.parametrize(("workers", "level"), [(1, "warning"), (2, "failure")])
def test_nodes_that_do_not_reach_each_other(here: Machine, workers: int, level: str) -> None:
    unreached = {"10.0.0.2": {"10.0.0.1": "timed out"}}
    found = only(cluster(here, of(here), unreached=unreached, demand=TrialResources(workers=workers)), "ports")
    assert found.level == level and "10.0.0.1 (timed out)" in found.seen


def test_a_cluster_without_authentication(here: Machine) -> None:
    found = only(cluster(here, replace(of(here), authentication=False)), "authentication", None)
    assert found.level == "warning" and "10.0.0.2" in found.seen and "RAY_AUTH_MODE=token" in found.fix
    local = Examination(driver=here, nodes=(NodeReport(node("127.0.0.1"), here, authentication=False),), clustered=True)
    assert only(local, "authentication", None).level == "ok"


@pytest.mark.parametrize(
    ("demand", "level"),
    [
        (TrialResources(cpus=4, workers=2), "ok"),
        (TrialResources(cpus=5), "failure"),
        (TrialResources(cpus=4, workers=3), "failure"),
        (TrialResources(gpus=1), "failure"),
        (TrialResources(memory_bytes=16 * GIB), "failure"),
    ],
)
def test_room_for_a_trial(here: Machine, demand: TrialResources, level: str) -> None:
    assert only(cluster(here, of(here), demand=demand), "room", None).level == level


def test_a_node_that_is_lost_silent_or_cannot_say(here: Machine) -> None:
    lost = NodeReport(node("10.0.0.3", lost="health check failed"))
    silent = NodeReport(node("10.0.0.4"))
    odd = replace(of(here), errors={"accelerator": "ModuleNotFoundError: No module named 'torch'"})
    examination = cluster(here, odd, lost, silent, silent={"10.0.0.4": "no answer within 5 seconds"})
    levels = {name: only(examination, "answers", name).level for name in ("10.0.0.2", "10.0.0.3", "10.0.0.4")}
    assert levels == {"10.0.0.2": "failure", "10.0.0.3": "warning", "10.0.0.4": "failure"}
    assert "No module named 'torch'" in only(examination, "answers").seen


def test_the_interface_of_an_address() -> None:
    found = interface_of("127.0.0.1")
    assert found is not None and found.loopback and interface_of("203.0.113.7") is None


def test_ports_that_answer_and_ports_that_do_not() -> None:
    port = listen("127.0.0.1")
    assert reach([("127.0.0.1", port)]) == {}
    assert "refused" in reach([("127.0.0.1", port), ("localhost", 1)])["localhost"]
