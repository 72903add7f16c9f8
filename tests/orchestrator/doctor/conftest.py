"""Plans of small sweeps, and this machine as their only node."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from cluster.examination import NodeReport
from cluster.machine import Machine, examine
from cluster.questions import Node
from orchestrator.catalog import InstalledCatalog
from orchestrator.doctor.subject import Subject, demand_of
from orchestrator.plan import Plan, make_plan
from search_spaces.spec import SweepSpec
from trainers import accelerator

SWEEP: dict[str, Any] = {
    "name": "micro",
    "models": ["micro-llama"],
    "tasks": ["squad"],
    "data": {"source": "embedded", "train": 12, "selection": 4, "test": 4},
    "methods": {"lora": {"rank": [2]}},
    "grid": {"learning_rate": [1e-3]},
    "training": {"steps": 2, "batch_size": 4, "max_length": 220, "checkpoint": {"best": "loss", "evaluations": 1}},
}


@pytest.fixture(scope="session")
def planned() -> Callable[..., Plan]:
    """Makes the plan of a small sweep with some sections changed."""

    def make(**sections: Any) -> Plan:
        return make_plan(SweepSpec.model_validate({**SWEEP, **sections}), InstalledCatalog())

    return make


@pytest.fixture(scope="session")
def here() -> Machine:
    return Machine.model_validate(examine(["torch"], {}))


@pytest.fixture
def subject_of(here: Machine) -> Callable[..., Subject]:
    """Makes what was learnt of one node for a plan; takes changes of the machine, and the accelerator's facts."""

    def make(plan: Plan | None = None, gpus: Any = (), resources: Any = None, accelerated: Any = None, **machine: Any) -> Subject:
        facts = {"accelerator": {**accelerator.Accelerator(deepspeed="cpu").model_dump(), "gpus": gpus, **(accelerated or {})}}
        node = Node("here", resources=resources or {"CPU": 2, "GPU": len(gpus), "memory": 2**34})
        report = NodeReport(node, here.model_copy(update=machine), facts=facts)
        return Subject(driver=here, nodes=(report,), plan=plan, demand=demand_of(plan))

    return make
