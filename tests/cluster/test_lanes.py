"""Several jobs at once in one process on a real Ray."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import ray

from cluster.fleet import Fleet
from cluster.handout import Ending, Limits, hand_out
from cluster.resources import TrialResources


@pytest.fixture
def run(local_ray: None, tmp_path: Path) -> Iterator[Callable[..., list[Ending]]]:
    """Hands jobs out to one process at the same time, each waited for by itself."""
    fleet = Fleet("tests.cluster.stub:Stub", {"folder": str(tmp_path)}, TrialResources(cpus=1), lanes=3)
    fleet.start(0, None)
    fleet.wait_until_ready()
    members = [ray.get_actor(name) for name in fleet.names(0)]

    def hand_out_all(*jobs: dict[str, Any], stall: float = 60) -> list[Ending]:
        with ThreadPoolExecutor(len(jobs)) as threads:
            return list(threads.map(lambda job: hand_out(members, {"alone": True, **job}, Limits(stall)), jobs))

    hand_out_all.fleet = fleet  # type: ignore[attr-defined]
    yield hand_out_all
    fleet.close()


def test_jobs_run_at_the_same_time_in_one_process_and_show_their_progress(run: Any, tmp_path: Path) -> None:
    began = time.monotonic()
    with ThreadPoolExecutor(1) as thread:
        endings = thread.submit(run, *({"name": f"job-{number}", "steps": 20, "seconds": 0.1} for number in range(3)))
        seen: list[int] = []
        while not endings.done():
            seen.append(len(run.fleet.progress()))
            time.sleep(0.1)
    assert [ending.reason for ending in endings.result()] == ["", "", ""]
    assert max(seen) == 3, f"the signs of all three are seen; {time.monotonic() - began:.1f} s"
    ran = {path.read_text(): path.name.split(".")[1] for path in tmp_path.glob("ran.*")}
    assert ran.keys() == {"job-0 0", "job-1 0", "job-2 0"} and len(set(ran.values())) == 1


def test_an_error_of_one_job_leaves_those_beside_it_alone(run: Any) -> None:
    failed, fine = run({"do": "raise"}, {"steps": 20, "seconds": 0.05})
    assert failed.reason == "RuntimeError: planted" and not failed.broken
    assert not fine.reason and not fine.broken


def test_a_process_that_dies_ends_all_its_jobs(run: Any) -> None:
    endings = run({"do": "die"}, {"steps": 1000, "seconds": 0.05}, {"steps": 1000, "seconds": 0.05})
    assert all(ending.broken and ending.begun and "ActorDied" in ending.reason for ending in endings)


def test_a_job_that_hangs_is_found_though_those_beside_it_live(run: Any) -> None:
    hanging, beside = run({"do": "linger"}, {"steps": 10_000, "seconds": 0.05}, stall=2)
    assert "no sign of life" in hanging.reason and hanging.broken
    assert beside.broken and "ActorDied" in beside.reason
