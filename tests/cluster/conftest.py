from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.fleet import Fleet
from cluster.resources import TrialResources
from orchestrator.sweep.ray_session import ray_session

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def local_ray() -> Iterator[None]:
    """A Ray of this process's own, whose actors find the tests' modules."""
    before = os.environ.get("PYTHONPATH", "")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(REPOSITORY), before]))
    try:
        with ray_session(None):
            yield
    finally:
        os.environ["PYTHONPATH"] = before


@pytest.fixture(scope="module")
def fleet_of(local_ray: None) -> Iterator[Callable[..., Fleet]]:
    """Makes fleets of stub workers, and closes them at the end."""
    fleets = []

    def make(folder: Path, workers: int = 1, preparation: Any = None, groups: int = 1, **arguments: Any) -> Fleet:
        fleet = Fleet("tests.cluster.stub:Stub", {"folder": str(folder), **arguments}, TrialResources(cpus=1, workers=workers))
        fleets.append(fleet)
        for number in range(groups):
            fleet.start(number, preparation)
        return fleet

    yield make
    for fleet in fleets:
        fleet.close()
