"""The one training loop; it never asks which method it trains."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from search_spaces import halving
from search_spaces.compute import STANDARD, Compute
from search_spaces.errors import CapacityError
from search_spaces.trial import Training
from trainers.adapters.attach import AdaptedModel
from trainers.api import Prediction, Task
from trainers.batches import MicroBatch
from trainers.batching import chunks, collated
from trainers.checkpoint import read_checkpoint, write_checkpoint
from trainers.checkpoint_store import CheckpointStore
from trainers.data import TaskData, batch_indices, width_of
from trainers.dealing import ALONE, TimeLimit
from trainers.engine import Engine
from trainers.evaluate import Evaluation, evaluate
from trainers.group import Group
from trainers.meter import Meter
from trainers.models import BaseModel
from trainers.operations import Operations
from trainers.optimizer import NotFinite
from trainers.results import Progress, Usage

CHECKPOINT_SECONDS = float(os.environ.get("FAIRSWEEP_CHECKPOINT_SECONDS", "60"))
"""Shortest time between two checkpoints of a running trial."""


class Diverged(Exception):
    """The loss, or an update, is not a finite number; carries the step."""

    def __init__(self, what: str, step: int) -> None:
        self.step = step
        super().__init__(f"{what} is not finite at step {step}")


@dataclass
class State:
    """Everything that a continued trial needs besides the adapter's and the optimiser's tensors."""

    step: int = 0
    """Optimiser steps taken."""
    seconds: float = 0.0
    """The trial's own time up to the checkpoint, in all attempts and before all rungs; waiting for others is left out."""
    curves: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    usage: dict[str, int] = field(default_factory=lambda: Usage().model_dump())
    best_step: int | None = None
    best_key: tuple[float, float] | None = None
    """(criterion, negative loss) of the kept state: larger is better."""
    best_metrics: dict[str, float] = field(default_factory=dict)
    best_predictions: list[Prediction] = field(default_factory=list)
    best_rows: list[dict[str, float]] | None = None
    operations: Operations | None = None
    """Those of the first step. A continued trial does not count again: counting takes other kernels, which round differently."""

    def record(self, name: str, step: int, value: float) -> None:
        """Add one point to a curve; a value that is not finite ends it."""
        if math.isfinite(value):
            self.curves.setdefault(name, []).append((step, value))


@dataclass
class TrainingRun:
    """One trial's training: the adapted model with its data, and where it keeps its checkpoint.

    Attributes:
        group: the workers that train together: each has a run of its own, and all runs keep the same state.
        state: progress, curves and the best evaluation so far.
        kept: the best adapter state so far, by parameter name.
        time_limit: seconds of its own that the trial may take in all; None sets no limit.
        spent: returns the seconds of its own since it was handed out.
        packed: whether it is a lane of a pack: operations are not counted, which would take the joint passes apart.
        until: step at which the run pauses, an evaluation step; None goes to the end.
    """

    model: AdaptedModel
    base: BaseModel
    task: Task
    data: TaskData
    training: Training
    order_seed: int
    deepspeed: dict[str, Any]
    meter: Meter
    trial_id: str
    checkpoint: CheckpointStore | None = None
    time_limit: float | None = None
    spent: Callable[[], float] = lambda: 0.0
    report: Callable[[Progress], None] = lambda progress: None
    group: Group = ALONE
    compute: Compute = STANDARD
    state: State = field(default_factory=State)
    kept: dict[str, Tensor] = field(default_factory=dict)
    until: int | None = None
    packed: bool = False

    def __post_init__(self) -> None:
        count, size = len(self.data.train), self.training.batch_size
        if size % self.group.size:
            raise CapacityError(f"batch_size {size} does not divide by the {self.group.size} workers of a group. Fix: a multiple of them")
        self.steps = total_steps(self.training, count)
        self.order = self._order(count)
        self.evaluation_steps = evaluation_steps(self.training, self.steps)
        self._saved_at, self._spent_before = time.monotonic(), 0.0

    def _order(self, count: int) -> list[list[int]]:
        bucketed = self.training.batches == "bucketed"
        lengths = [width_of(item) for item in self.data.train] if bucketed else None
        return batch_indices(count, self.training.batch_size, self.steps, self.order_seed, lengths)

    @property
    def goal(self) -> int:
        """The step at which `run` returns."""
        return self.steps if self.until is None else min(self.until, self.steps)

    @property
    def paused(self) -> bool:
        """Whether there is more to train."""
        return self.state.step < self.steps

    def run(self) -> None:
        """Train to the goal, evaluating on the selection split; at the end put the kept adapter state back in place.

        A run that pauses leaves a checkpoint there, from which another one goes on as if nothing had been between.

        Raises:
            Diverged: a loss is NaN or infinite, or an update cannot be computed.
            TimeLimit: the time is up.
        """
        if self.steps == 0:
            self._evaluate()
            return
        kernel = self.compute.optimizer_kernel
        engine = Engine(self.model, self.training, self.steps, head=is_head, extra=self.deepspeed, group=self.group, kernel=kernel)
        try:
            self._resume(engine)
            while self.state.step < self.goal:
                with self.meter.spans.span("train"):
                    self._step(engine)
                if self.state.step in self.evaluation_steps:
                    self._evaluate()
                    self._save(engine)
        finally:
            engine.close()
        if not self.paused:
            self._restore_kept()

    def _step(self, engine: Engine) -> None:
        step = self.state.step
        batches, weight = self._share(self.order[step])
        rate = engine.learning_rate
        self.model.before_step(step, self.steps)
        try:
            with self.meter.step(count_operations=step == 0 and not self.packed):
                share = engine.step(batches, weight, lambda: self.model.method.after_step(step, self.steps))
        except NotFinite as error:
            raise Diverged(str(error), step + 1) from error
        if step == 0 and self.meter.operations is not None:
            self.state.operations = _of_all(self.meter.operations, self.group)
        self.state.step += 1
        loss, late = self._together(share)
        self.state.record("train/loss", self.state.step, loss)
        if rate is not None:
            self.state.record("train/learning_rate", self.state.step, rate)
        if late:
            raise self._time_limit()
        self.report(Progress(self.trial_id, self.state.step, self.steps, loss))
        if not math.isfinite(loss):
            raise Diverged("the training loss", self.state.step)

    def _together(self, share: float) -> tuple[float, bool]:
        """Return the loss of the global batch, and whether the time is up on some worker."""
        loss, late = self.group.sum_(torch.tensor([share, self._late()], dtype=torch.float64)).tolist()
        return loss, late > 0

    def _share(self, rows: Sequence[int]) -> tuple[list[MicroBatch], int]:
        """Return this worker's micro-batches of a global batch, and what its loss is the mean over; note what it uses of the budget."""
        size = len(rows) // self.group.size
        own = [self.data.train[i] for i in rows[self.group.rank * size :][:size]]
        pad, device = self.base.tokenizer.pad_token_id, next(self.base.model.parameters()).device
        batches = [collated(part, pad, device) for part in chunks(own, self.training.micro_batch or size)]
        counts = [(b.text_tokens, b.target_tokens, len(b.input_ids), b.weight) for b in batches]
        text, target, sequences, weight = self.group.sum_(torch.tensor(counts).sum(0)).tolist()
        virtual = sequences * self.model.method.virtual_tokens()
        used = {"steps": 1, "examples": len(rows), "text_tokens": text, "target_tokens": target, "virtual_tokens": virtual}
        for name, count in used.items():
            self.state.usage[name] += count
        return batches, weight

    def _evaluate(self) -> None:
        """Evaluate on the selection split; keep a complete state if it is the best so far. Ties: the lower loss, then the earlier step."""
        result = self.evaluate(self.data.selection)
        state, step = self.state, self.state.step
        state.usage["evaluations"] += 1
        metrics = {f"selection/{name}": value for name, value in result.scores.metrics.items()} | {"selection/loss": result.loss}
        for name, value in metrics.items():
            state.record(name, step, value)
        if not math.isfinite(result.loss):
            raise Diverged("the selection loss", step)
        if step < self.steps and not self.model.method.complete(step, self.steps):
            return
        main = result.scores.metrics[self.task.card.main]
        criterion = {"metric": main, "loss": -result.loss, None: float(step)}[self.training.checkpoint.best]
        if state.best_key is None or (criterion, -result.loss) > state.best_key:
            state.best_key, state.best_step, state.best_metrics = (criterion, -result.loss), step, metrics
            state.best_predictions, state.best_rows = result.predictions, result.scores.rows
            self.kept = {name: p.detach().clone() for name, p in self.model.trainable().items()}

    def evaluate(self, split: Any) -> Evaluation:
        """Evaluate the adapter's present state on a split."""
        with self.meter.evaluation():
            return evaluate(
                self.model, self.base.tokenizer, self.task, split, self.training.max_new_tokens, self._heartbeat, group=self.group
            )

    def _heartbeat(self) -> None:
        if self._late():
            raise self._time_limit()
        self.report(Progress(self.trial_id, self.state.step, self.steps, None))

    def _late(self) -> bool:
        return self.time_limit is not None and self._spent_before + self.spent() > self.time_limit

    def _time_limit(self) -> TimeLimit:
        return TimeLimit(f"the time limit passed at step {self.state.step} of {self.steps}")

    def _restore_kept(self) -> None:
        with torch.no_grad():
            for name, parameter in self.model.trainable().items():
                parameter.copy_(self.kept[name])

    def _save(self, engine: Engine) -> None:
        due = self.state.step == self.goal or time.monotonic() - self._saved_at >= CHECKPOINT_SECONDS
        if self.checkpoint is not None and self.state.step < self.steps and self.group.any(due):
            self.state.seconds = self._spent_before + self.spent()
            with self.meter.spans.span("store"):
                write_checkpoint(self.checkpoint, self, engine)
            self._saved_at = time.monotonic()

    def _resume(self, engine: Engine) -> None:
        if self.checkpoint is not None:
            with self.meter.spans.span("load"):
                read_checkpoint(self.checkpoint, self, engine)
            self._spent_before = self.state.seconds


def _of_all(operations: Operations, group: Group) -> Operations:
    """Return what all workers computed."""
    counts = torch.tensor([operations.flops, operations.macs, operations.forward_flops])
    return Operations(*group.sum_(counts).tolist())


def total_steps(training: Training, examples: int) -> int:
    """Return the number of optimiser steps: given, or as many as pass every example `epochs` times."""
    if training.steps is not None:
        return training.steps
    assert training.epochs is not None
    return math.ceil(training.epochs * examples / training.batch_size)


def evaluation_steps(training: Training, steps: int) -> frozenset[int]:
    """Return the steps after which the adapter is evaluated: equally spaced, the last among them."""
    return frozenset(halving.evaluation_steps(steps, training.checkpoint.evaluations))


def is_head(name: str) -> bool:
    """Tell whether a trainable parameter belongs to the classification head."""
    return name.startswith("head.")
