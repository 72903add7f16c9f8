from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest
import ray

from cluster.fleet import Fleet
from cluster.handout import Limits, hand_out
from search_spaces.errors import ModelError


def test_groups_of_one_are_prepared_and_renewed_one_by_one(fleet_of: Callable[..., Fleet], tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, groups=2, preparation=("base", "data"))
    try:
        fleet.wait_until_ready()
        deadline = time.monotonic() + 60
        while len(fleet.ready()) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert fleet.ready() == [0, 1] and len(fleet) == 2
        before = [fleet.names(number) for number in (0, 1)]
        fleet.end(0)
        assert fleet.ready() == [1]
        fleet.start(0, None)
        deadline = time.monotonic() + 60
        while len(fleet.ready()) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert fleet.names(1) == before[1] and fleet.names(0) != before[0]
        assert [path.read_text() for path in tmp_path.glob("prepared.*")] == ["('base', 'data')"] * 2
    finally:
        fleet.close()


def test_an_error_of_one_process_alone_leaves_it_as_it_is(fleet_of: Callable[..., Fleet], tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path)
    fleet.wait_until_ready()
    members = [ray.get_actor(name) for name in fleet.names(0)]
    ending = hand_out(members, {"do": "raise"}, Limits(stall=60))
    assert ending.reason == "RuntimeError: planted" and not ending.broken
    assert isinstance(ending.error, RuntimeError)
    assert not hand_out(members, {}, Limits(stall=60)).reason
    fleet.close()


def test_what_prepare_raises_reaches_the_user(fleet_of: Callable[..., Fleet], tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, preparation=(), fail_on_prepare="there is no such model")
    with pytest.raises(ModelError, match="there is no such model"):
        fleet.wait_until_ready()
    assert len(list(tmp_path.glob("prepared.*"))) == 1, "a fault of the sweep's is not tried again"
    fleet.close()


def test_a_process_has_the_threads_of_its_cores_and_one_heap_for_all_trials(fleet_of: Callable[..., Fleet], tmp_path: Path) -> None:
    fleet = fleet_of(tmp_path, preparation=())
    fleet.wait_until_ready()
    member = ray.get_actor(fleet.names(0)[0])
    expected = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1", "CUDA_VISIBLE_DEVICES": ""}
    assert {name: ray.get(member.call.remote("variable", name)) for name in expected} == expected
    fleet.close()
