"""The makespan of the study `llama2-low-resource` on 1, 8 and 64 GPUs, on paper: docs/scaling.md explains, this computes.

`python -m tests.benchmarks.scaling` prints the tables of that document. Nothing here runs a model: operations follow from the sizes of
LLaMA-2-7B, speeds from a data sheet and stated assumptions, overheads from what was measured.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from math import ceil

from orchestrator.catalog import InstalledCatalog
from orchestrator.plan import Plan, load_plan
from search_spaces.halving import HalvingSection, evaluation_steps, rung_steps
from tests.benchmarks.makespan import Stage, makespan

STUDY = "llama2-low-resource"
LEFT_OUT = "full"
"""Its row needs 108 GB: several GPUs, and no pack."""
GPUS = (1, 8, 64)
LANES = 8
HALVING = HalvingSection(reduction=3, min_steps=40)


@dataclass(frozen=True)
class Base:
    """Sizes of a decoder.

    Attributes:
        matrix_weights: weights that a token is multiplied with: all but the embeddings.
    """

    matrix_weights: int
    layers: int
    width: int
    bytes_per_weight: int = 2

    def forward_flops(self, rows: float, tokens: float) -> float:
        """Return the operations of a forward pass over rows of some tokens: matrices, and attention without its causal half."""
        return rows * tokens * (2 * self.matrix_weights + 4 * self.layers * self.width * tokens)


LLAMA2_7B = Base(matrix_weights=6_607_339_520, layers=32, width=4096)


@dataclass(frozen=True)
class Gpu:
    """A GPU and how well it is used.

    Attributes:
        peak_flops: dense bf16, per second.
        peak_bytes: memory bandwidth, per second.
        share: of the peak operations that matrix products of these sizes reach (assumed).
        bandwidth_share: of the peak bandwidth (assumed).
        launch_seconds: time of the processor that starts a layer's kernels in one pass (assumed).
        own_share: of a pass's launch time that each trial of a pack takes for itself: its method, loss and optimiser (assumed).
    """

    name: str
    peak_flops: float
    peak_bytes: float
    share: float = 0.45
    bandwidth_share: float = 0.8
    launch_seconds: float = 0.6e-3
    own_share: float = 0.25

    def pass_seconds(self, base: Base, rows: float, tokens: float, lanes: int = 1) -> float:
        """Return how long one pass takes in which each lane has rows of some tokens.

        What is slowest of arithmetic, memory and the launches that lanes share, and then what each lane launches for itself.
        """
        arithmetic = base.forward_flops(lanes * rows, tokens) / (self.share * self.peak_flops)
        memory = base.matrix_weights * base.bytes_per_weight / (self.bandwidth_share * self.peak_bytes)
        launches = base.layers * self.launch_seconds
        return max(arithmetic, memory, launches * (1 - self.own_share)) + lanes * launches * self.own_share


A100 = Gpu("NVIDIA A100 80GB SXM", peak_flops=312e12, peak_bytes=2039e9)
PESSIMISTIC = replace(A100, share=0.3, launch_seconds=1.0e-3, own_share=0.4)
OPTIMISTIC = replace(A100, share=0.6, launch_seconds=0.3e-3, own_share=0.15)


@dataclass(frozen=True)
class Texts:
    """What a task's examples are like on average.

    Attributes:
        tokens: prompt and target.
        written: passes of one token until the last row of a batch has ended its answer; 0 where options are scored.
        option_tokens: tokens of all options of an example beyond the prompt; 0 where answers are written.
    """

    tokens: float
    written: int = 0
    option_tokens: float = 0.0


MORE_TOKENS = 1.1
"""LLaMA's vocabulary of 32,000 cuts texts into more pieces than SmolLM2's of 49,152, with which the lengths were counted (assumed)."""
TEXTS = {
    "copa": Texts(tokens=16, option_tokens=13),
    "record": Texts(tokens=255, option_tokens=320),
    "squad": Texts(tokens=200, written=20),
    "drop": Texts(tokens=318, written=20),
    "drop_mezo": Texts(tokens=318, written=20),
}
EVALUATION_TOKENS, CACHE_BYTES = 8192, 2 * 2**30
"""Tokens of a pass in evaluation, and bytes of keys and values in generation (`trainers.batching`, `trainers.generation`)."""


@dataclass(frozen=True)
class Overheads:
    """What a trial and a sweep cost besides training and evaluation.

    Attributes:
        swap_seconds: from one adapter to the next on a resident base; measured on SmolLM2 (`tests.benchmarks.swap`), and hardly a
            function of the base's size but for the check of its weights, which takes 0.1 s per GB on a CPU.
        start_seconds: Ray, imports and the load of 13.5 GB from a local disk.
    """

    swap_seconds: float = 1.5
    start_seconds: float = 60.0


@dataclass(frozen=True)
class TrialCost:
    """Seconds of a trial on a GPU, by what they go to."""

    step: float
    evaluation: float
    test: float


class Costs:
    """What the trials of the study cost on a GPU with some lanes in use.

    Args:
        plan: of the study.
    """

    def __init__(self, plan: Plan, gpu: Gpu, base: Base = LLAMA2_7B, overheads: Overheads = Overheads()) -> None:
        self.plan, self.gpu, self.base, self.overheads = plan, gpu, base, overheads
        self.gain = cache(self._gain)

    def trial(self, task: str, lanes: int = 1) -> TrialCost:
        """Return what a trial takes when so many share the GPU's base: its part of the joint passes."""
        data, training = self.plan.found.tasks[task].data, self.plan.found.tasks[task].training
        micro = training.micro_batch or training.batch_size
        one = self.gpu.pass_seconds(self.base, micro, MORE_TOKENS * TEXTS[task].tokens, lanes) / lanes
        # The gradient of a frozen base passes through its matrices once, as the forward pass does.
        step = training.batch_size / micro * 2 * one
        return TrialCost(step, self._evaluation(task, data.selection, lanes), self._evaluation(task, data.test, lanes))

    def steps(self, task: str) -> int:
        """Return the optimiser steps of a trial."""
        task_of = self.plan.found.tasks[task]
        training = task_of.training
        return int(training.steps or ceil((training.epochs or 0) * task_of.data.train / training.batch_size))

    def _gain(self, task: str, lanes: int) -> float:
        """Return the throughput of trials side by side, in trials alone."""
        return self._whole(task, 1) / self._whole(task, lanes)

    def _whole(self, task: str, lanes: int) -> float:
        cost = self.trial(task, lanes)
        return self.steps(task) * cost.step + self.evaluations(task) * cost.evaluation

    def evaluations(self, task: str) -> int:
        """Return how often a trial is evaluated."""
        return len(evaluation_steps(self.steps(task), self.plan.found.tasks[task].training.checkpoint.evaluations))

    def _evaluation(self, task: str, examples: int, lanes: int) -> float:
        """Return the seconds of one evaluation: the loss, and the answers that are written or chosen."""
        texts = TEXTS[task]
        tokens = MORE_TOKENS * texts.tokens
        if texts.option_tokens:
            return examples * self._read(tokens + MORE_TOKENS * texts.option_tokens, lanes)
        cached = 4 * self.base.layers * self.base.width * (tokens + 50)
        rows = max(1, int(CACHE_BYTES / cached))
        writing = ceil(examples / rows) * texts.written * self.gpu.pass_seconds(self.base, rows, 1, lanes) / lanes
        return 2 * examples * self._read(tokens, lanes) + writing

    def _read(self, tokens: float, lanes: int) -> float:
        """Return the seconds of one text in passes that are full."""
        rows = max(1.0, EVALUATION_TOKENS // tokens)
        return self.gpu.pass_seconds(self.base, rows, tokens, lanes) / lanes / rows


def select_stages(costs: Costs, halving: HalvingSection | None) -> Iterator[Stage]:
    """Give the select phase, cell by cell: all grid points to the end, or from rung to rung."""
    points = len(costs.plan.factory.points) * len(costs.plan.spec.seeds.select)
    for cell in costs.plan.cells:
        if cell.label != LEFT_OUT:
            yield _stage(costs, cell.task, points, halving)


def _stage(costs: Costs, task: str, points: int, halving: HalvingSection | None) -> Stage:
    steps, evaluations = costs.steps(task), costs.evaluations(task)
    ends = (*(rung_steps(halving, steps, evaluations) if halving else ()), steps)
    counts = [points]
    while halving and len(counts) < len(ends):
        counts.append(max(1, counts[-1] // halving.reduction))
    evaluated = evaluation_steps(steps, evaluations)
    cost, stage = costs.trial(task), None
    for start, end, count in reversed(list(zip((0, *ends[:-1]), ends, counts, strict=True))):
        passed = sum(start < step <= end for step in evaluated)
        seconds = (end - start) * cost.step + passed * cost.evaluation + costs.overheads.swap_seconds
        stage = Stage(task, (seconds,) * count, stage)
    assert stage is not None
    return stage


def report_stages(costs: Costs) -> Iterator[Stage]:
    """Give the report phase: the selected point of every cell on every report seed, and the test split."""
    for cell in costs.plan.cells:
        if cell.label != LEFT_OUT:
            cost = costs.trial(cell.task)
            trained = costs.steps(cell.task) * cost.step + costs.evaluations(cell.task) * cost.evaluation
            yield Stage(cell.task, (trained + cost.test + costs.overheads.swap_seconds,) * len(costs.plan.spec.seeds.report))


def hours(costs: Costs, gpus: int, *, packing: bool, halving: bool) -> float:
    """Return the makespan of both phases in hours, start-up included."""
    lanes = LANES if packing else 1
    phases = (list(select_stages(costs, HALVING if halving else None)), list(report_stages(costs)))
    spans = [makespan(stages, gpus, lanes, costs.gain) for stages in phases]
    return (costs.overheads.start_seconds + sum(spans)) / 3600


def makespan_table(plan: Plan) -> str:
    """Return the makespans as Markdown, in hours, with those of the pessimistic and the optimistic assumptions."""
    lines = ["| packing | halving | " + " | ".join(f"{n} GPU{'s' if n > 1 else ''}" for n in GPUS) + " |", f"|{' --- |' * (2 + len(GPUS))}"]
    for halving, packing in itertools.product((False, True), (False, True)):
        cells = []
        for gpus in GPUS:
            middle, *ends = (hours(Costs(plan, gpu), gpus, packing=packing, halving=halving) for gpu in (A100, OPTIMISTIC, PESSIMISTIC))
            cells.append(f"{_hours(middle)} ({_hours(min(ends))} to {_hours(max(ends))})")
        lines.append(f"| {f'{LANES} lanes' if packing else 'no'} | {'yes' if halving else 'no'} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def task_table(plan: Plan) -> str:
    """Return, per task, what a select trial takes alone and what packing gains, as Markdown."""
    costs = Costs(plan, A100)
    lines = ["| task | tokens | steps | training, s | evaluations, s | packed 2 | packed 8 |", f"|{' --- |' * 7}"]
    for task in plan.found.tasks:
        cost = costs.trial(task)
        training, evaluation = costs.steps(task) * cost.step, costs.evaluations(task) * cost.evaluation
        gains = " | ".join(f"{costs.gain(task, lanes):.2f} x" for lanes in (2, LANES))
        tokens = MORE_TOKENS * TEXTS[task].tokens
        lines.append(f"| `{task}` | {tokens:.0f} | {costs.steps(task)} | {training:.0f} | {evaluation:.0f} | {gains} |")
    return "\n".join(lines) + "\n"


def limits_table(plan: Plan) -> str:
    """Return what keeps many GPUs from being busy, as Markdown: the makespan beside the work divided by the GPUs."""
    costs = Costs(plan, A100)
    lines = ["| GPUs | halving | busy | longest trial, minutes | cells |", f"|{' --- |' * 5}"]
    for halving, gpus in itertools.product((False, True), GPUS):
        stages = [*select_stages(costs, HALVING if halving else None), *report_stages(costs)]
        seconds = [took for first in stages for stage in first.chain() for took in stage.seconds]
        busy = sum(seconds) / 3600 / gpus / hours(costs, gpus, packing=False, halving=halving)
        cells = sum(cell.label != LEFT_OUT for cell in plan.cells)
        lines.append(f"| {gpus} | {'yes' if halving else 'no'} | {100 * busy:.0f} % | {_longest(stages) / 60:.0f} | {cells} |")
    return "\n".join(lines) + "\n"


def _longest(stages: Sequence[Stage]) -> float:
    """Return the longest chain of trials that must follow each other."""
    return max(sum(stage.seconds[0] for stage in first.chain()) for first in stages)


def _hours(value: float) -> str:
    return f"{value:.0f} h" if value >= 10 else f"{value:.1f} h"


def tables() -> Mapping[str, str]:
    """Return the tables of docs/scaling.md by name."""
    plan = load_plan(STUDY, InstalledCatalog())
    return {"makespan": makespan_table(plan), "tasks": task_table(plan), "limits": limits_table(plan)}


def main() -> None:
    """Print the tables."""
    for name, text in tables().items():
        sys.stdout.write(f"<!-- {name} -->\n{text}<!-- end -->\n\n")


if __name__ == "__main__":
    main()
