"""Whether the threads of a sweep fit the cores that it would run on."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from cluster.cores import CoreUse, usable_cores
from cluster.examination import Finding
from cluster.resources import ResourcesError, TrialResources
from orchestrator.doctor.subject import Subject, demand_of
from orchestrator.plan import Plan
from search_spaces.packing import width_of

FEWER = "start Ray there with --num-cpus={cores}, or raise resources.cpus"
MORE = "resources.cpus: {better}. The number of threads is part of the environment of every run: choose it before the first one"


def threads(subject: Subject) -> Iterator[Finding]:
    """The threads of the trials that run side by side fit the cores of every node, and keep them busy."""
    plan, demand = subject.plan, subject.demand
    nodes = [(report.name, report.machine, report.node.resources) for report in subject.alive if report.machine]
    if plan is None or demand is None or demand.gpus or not nodes:
        return
    crowded = False
    for name, machine, resources in nodes:
        use = CoreUse(machine.cpus, max(1, min(demand.slots(resources), _most(plan))), demand.cpus)
        if use.oversubscribed and demand.slots(resources):
            crowded = True
            yield Finding("warning", f"{use}: they wait for each other", FEWER.format(cores=use.cores), name)
    together = _use(plan, demand, sum(machine.cpus for _, machine, _ in nodes), [resources for *_, resources in nodes])
    if together is not None and not crowded:
        yield Finding("warning", _idle(together), MORE.format(better=together.better)) if together.idle else Finding("ok", str(together))


def advice(plan: Plan) -> list[str]:
    """Return what a run of a sweep on this machine should know of its threads, in words; nothing where they fit."""
    demand, cores = demand_of(plan), usable_cores()
    if demand is None or demand.gpus:
        return []
    use = _use(plan, TrialResources(demand.cpus, workers=demand.workers), cores, [{"CPU": cores}])
    return [f"{_idle(use)}. Fix: {MORE.format(better=use.better)}"] if use is not None and use.idle else []


def _use(plan: Plan, demand: TrialResources, cores: int, nodes: Sequence[Mapping[str, float]]) -> CoreUse | None:
    """Return how a sweep uses the cores of nodes together; None where no trial fits."""
    try:
        side_by_side = demand.side_by_side(nodes)
    except ResourcesError:
        return None
    return CoreUse(cores, min(side_by_side * demand.workers, _most(plan)), demand.cpus)


def _most(plan: Plan) -> int:
    """Return how many workers the sweep would use if there were room for all: those of the larger phase, one trial at a time if solo."""
    trials = max(plan.select_count, plan.report_count)
    groups = 1 if plan.spec.resources.solo else math.ceil(trials / (width_of(plan.packing) or 1))
    return groups * plan.spec.resources.workers


def _idle(use: CoreUse) -> str:
    left = use.cores - use.busy
    return f"{use}: {left} {'core stays' if left == 1 else 'cores stay'} idle"
