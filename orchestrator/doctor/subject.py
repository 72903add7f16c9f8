"""What the doctor looks at besides machines: the sweep, its storage and its tracking store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from cluster.examination import Examination
from cluster.resources import TrialResources
from orchestrator.doctor.storage_probe import StorageProbe
from orchestrator.plan import Plan
from orchestrator.tracking.probe import TrackingProbe
from search_spaces.errors import Fault


@dataclass(frozen=True)
class Subject(Examination):
    """All that was learnt, for the checks to judge.

    Attributes:
        unreachable: why the Ray cluster cannot be used; empty when it can, or none was asked for.
        plan: of the sweep; None without one, or where it has faults.
        faults: what is wrong with the sweep file.
        storage: what happened when the driver and the nodes wrote there.
        tracking: what the tracking store answered.
    """

    unreachable: str = ""
    plan: Plan | None = None
    faults: tuple[Fault, ...] = ()
    storage: StorageProbe = field(default_factory=StorageProbe)
    tracking: TrackingProbe = field(default_factory=lambda: TrackingProbe(""))

    @property
    def several(self) -> bool:
        """Whether the sweep would run on more than one node."""
        return len(self.alive) > 1


def demand_of(plan: Plan | None) -> TrialResources | None:
    """Return what a trial of a sweep asks for."""
    if plan is None:
        return None
    section = plan.spec.resources
    return TrialResources(section.cpus, section.gpus, section.memory, section.workers)


def ops_of(plan: Plan | None) -> tuple[str, ...]:
    """Return the DeepSpeed ops that a sweep needs: optimisers are torch's own, so that only offloading to a disk needs one."""
    zero = plan.spec.deepspeed.model_dump().get("zero_optimization", {}) if plan else {}
    devices = [section.get("device") for section in zero.values() if isinstance(section, Mapping)]
    return ("async_io",) if "nvme" in devices else ()
