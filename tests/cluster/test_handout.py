"""A group of two processes on a real Ray: whatever happens to one of them, the hand-out ends, and the group can be formed anew."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray.util.placement_group import placement_group_table

from cluster import handout
from cluster.fleet import Fleet
from cluster.handout import Limits, hand_out
from cluster.network import interface_of


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("stub")


@pytest.fixture(scope="module")
def pair(fleet_of: Callable[..., Fleet], folder: Path) -> Fleet:
    return fleet_of(folder, workers=2, preparation=("base",))


@pytest.fixture
def members(pair: Fleet) -> list[Any]:
    """The processes of the pair, formed anew where the test before has ended them."""
    if not pair.ready() or not _alive(pair):
        pair.start(0, ("base",))
    pair.wait_until_ready()
    return [ray.get_actor(name) for name in pair.names(0)]


def _alive(pair: Fleet) -> bool:
    try:
        return bool(ray.get([ray.get_actor(name).signs.remote() for name in pair.names(0)], timeout=30))
    except (ValueError, ray.exceptions.RayError):
        return False


def pids(folder: Path, event: str) -> list[int]:
    """Ids of the processes that an event was last noted by, oldest first."""
    return [int(path.name.split(".")[1]) for path in sorted(folder.glob(f"{event}.*"), key=lambda path: path.stat().st_mtime_ns)]


def test_all_ranks_run_the_job_and_the_group_stays(members: list[Any], folder: Path) -> None:
    for name in ("one", "two"):
        ending = hand_out(members, {"name": name}, Limits(stall=60))
        assert not ending.broken and ending.reason == ""
    assert {"one 0", "one 1", "two 0", "two 1"} <= {path.read_text() for path in folder.glob("ran.*")}
    assert len(set(pids(folder, "ran"))) == 2, "the same two processes ran both jobs"
    assert set(pids(folder, "ran")) <= set(pids(folder, "prepared"))
    address = ray.util.get_node_ip_address()
    interface = interface_of(address)
    assert interface is not None
    expected = {f"{rank} 2 {address} {interface.name} {interface.name}" for rank in (0, 1)}
    assert {path.read_text() for path in folder.glob("joined.*")} == expected


@pytest.mark.parametrize(
    ("job", "stall", "reason"),
    [
        ({"do": "die", "rank": 1}, 60, "rank 1: ActorDiedError"),
        ({"do": "stop", "rank": 1}, 1, "no sign of life"),
        pytest.param({"do": "starve", "rank": 1}, 60, "rank 1: MemoryError", marks=pytest.mark.services),
        pytest.param({"do": "stop", "rank": 0, "silent": True}, 1, "no sign of life for 4 s", marks=pytest.mark.services),
    ],
)
def test_a_rank_that_fails_or_hangs_ends_the_group(members: list[Any], job: dict[str, Any], stall: float, reason: str) -> None:
    processes = [psutil.Process(pid) for pid in ray.get([member.call.remote("process_id") for member in members])]
    ending = hand_out(members, job, Limits(stall))
    assert ending.broken and ending.begun
    assert reason in ending.reason
    assert not psutil.wait_procs(processes, timeout=20)[1], "a stopped one is ended too"
    again = hand_out(members, {}, Limits(stall=60))
    assert again.broken and not again.begun, "a dead group is found out before a trial is wasted on it"


def test_a_trial_whose_first_rank_returned_is_done_though_another_one_lingers(members: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handout, "GRACE_SECONDS", 1.0)
    ending = hand_out(members, {"do": "linger", "rank": 1, "steps": 2, "alone": True}, Limits(stall=2))
    assert ending.broken and ending.reason == ""


@pytest.mark.services
def test_a_trial_past_its_time_limit_is_ended_though_it_gives_signs_of_life(members: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handout, "GRACE_SECONDS", 1.0)
    ending = hand_out(members, {"steps": 10_000, "seconds": 0.1}, Limits(stall=2, time_limit=2))
    assert ending.broken and "no answer within 3 s" in ending.reason


def test_nothing_stays_reserved(pair: Fleet) -> None:
    pair.start(0, None)
    pair.close()
    assert placement_group_table(), "there was one for each group"
    assert {entry["state"] for entry in placement_group_table().values()} == {"REMOVED"}
