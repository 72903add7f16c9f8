"""Checks the memory that the base models of a sweep need against what each node has; `trainers.footprint` states the formula."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cluster.examination import Finding, NodeReport, size
from cluster.resources import TrialResources
from orchestrator.doctor.accelerators import TOPIC
from orchestrator.doctor.subject import Subject
from orchestrator.plan import Plan
from search_spaces.trial import ModelRef, Trial
from trainers.accelerator import Accelerator
from trainers.footprint import LIVE_PARAMETERS, Footprint, footprint

PROCESS_BYTES = 700 * 2**20
"""Resident memory of a worker before it loads a base: Python, torch, transformers, DeepSpeed (545 MiB with torch 2.13 on CPU).

On a GPU, about what CUDA's context and libraries take.
"""


@dataclass(frozen=True)
class Place:
    """Where the workers of one node hold their bases.

    Attributes:
        name: the memory, in words.
        total_bytes: what there is in all.
        free_bytes: what is free now.
        workers: how many share it.
    """

    name: str
    total_bytes: int
    free_bytes: int
    workers: int


def model_memory(subject: Subject) -> Iterator[Finding]:
    """Every base model fits into the memory of every node that has room for workers."""
    if subject.plan is None or subject.demand is None:
        return
    for model in subject.plan.found.models:
        need = footprint_of(subject.plan, model)
        for report in subject.alive:
            if place := place_on(report, subject.plan, subject.demand):
                yield _judged(model, need, place, report.name)


def footprint_of(plan: Plan, model: ModelRef) -> Footprint:
    """Return what a worker needs for one base model: that of the largest adapter and the largest micro-batch of the sweep."""
    section, workers = plan.spec.deepspeed, plan.spec.resources.workers
    trials = [trial for trial in (*plan.trials, *plan.base_trials) if trial.model == model]
    trainable = max((counts.trainable for cell, counts in plan.counts.items() if cell.model == model.id), default=0)
    live = section.model_dump().get("zero_optimization", {}).get("stage3_max_live_parameters", LIVE_PARAMETERS)
    tokens = max((_tokens(trial, workers) for trial in trials), default=0)
    return footprint(model, trainable, tokens, workers, section.zero_stage, int(live))


def place_on(report: NodeReport, plan: Plan, demand: TrialResources) -> Place | None:
    """Return where workers on a node hold their bases; None where none would run."""
    most = demand.workers if plan.spec.resources.solo else demand.workers * (plan.select_count + plan.report_count)
    workers = min(demand.slots(report.node.resources), most)
    if workers < 1 or report.machine is None:
        return None
    accelerator = Accelerator.model_validate(report.facts.get(TOPIC, {}))
    if demand.gpus and accelerator.gpus:
        smallest = min(accelerator.gpus, key=lambda gpu: gpu.memory_bytes)
        sharing = min(workers, max(1, int(1 / demand.gpus + 1e-9)))
        return Place(f"GPU memory of {smallest.name}", smallest.memory_bytes, smallest.memory_bytes, sharing)
    return Place("memory", report.machine.memory_bytes, report.machine.available_bytes, workers)


def _judged(model: ModelRef, need: Footprint, place: Place, node: str) -> Finding:
    certain, all_of_it = ((part + PROCESS_BYTES) * place.workers for part in (need.certain_bytes, need.bytes))
    side_by_side = f"; {place.workers} workers side by side" if place.workers > 1 else ""
    seen = (
        f"{model.id} in {model.dtype}: {size(need.base_bytes)} base + {size(need.training_bytes)} adapter and optimiser + at most "
        f"{size(need.activation_bytes)} activations + {size(PROCESS_BYTES)} process{side_by_side} = {size(all_of_it)}, "
        f"{place.name} {size(place.total_bytes)}, {size(place.free_bytes)} free"
    )
    if certain > place.total_bytes:
        return Finding("failure", seen, _fix(model, place), node)
    if all_of_it > place.free_bytes:
        fix = _fix(model, place, "training.micro_batch: 1, a smaller training.max_length, ")
        return Finding("warning", f"{seen}: it may run out", fix, node)
    return Finding("ok", seen, node=node)


def _fix(model: ModelRef, place: Place, first: str = "") -> str:
    fewer = "more resources.cpus or resources.gpus per worker, so that fewer share it, " if place.workers > 1 else ""
    share = "deepspeed.zero_stage: 3 with more resources.workers, which share the base, "
    narrower = "dtype: bfloat16, " if model.dtype == "float32" else ""
    return f"{first}{fewer}{narrower}{share}or larger nodes"


def _tokens(trial: Trial, workers: int) -> int:
    share = -(-trial.training.batch_size // workers)
    return min(trial.training.micro_batch or share, share) * trial.training.max_length
