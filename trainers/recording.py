"""Turns the running of one job, by one worker or by a group of them, into an Outcome."""

from __future__ import annotations

import gc
import logging
import math
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from search_spaces.errors import CapacityError
from trainers import data as task_data
from trainers import registry
from trainers.adapters import storing
from trainers.adapters.attach import AdaptedModel
from trainers.adapters.partition import is_collective
from trainers.adapters.recomputation import recompute_layers
from trainers.adapters.virtual_tokens import text_positions
from trainers.attachment import attach, dropout_seed, load_seconds
from trainers.checkpoint_store import CheckpointStore
from trainers.counting import measured
from trainers.ending import Desynchronised, Ending, ending_of
from trainers.group import Group
from trainers.loop import Diverged, State, TrainingRun
from trainers.meter import LOADS, Meter, environment, reset_peak
from trainers.models import BaseModel
from trainers.outcomes import OutcomeStore
from trainers.packing.lane import Lane
from trainers.packing.pack import Pack
from trainers.predictions import prediction_table
from trainers.results import RUNGS, Counts, Job, Outcome, Profile, Progress, Status, Usage, rung_metric
from trainers.storage import Storage

log = logging.getLogger(__name__)

LARGE_ADAPTER_BYTES = 64 * 2**20
"""A select-phase adapter larger than this is not stored: it is never exported, and a sweep has many."""


FAILED_SECONDS = 30.0
"""How long a worker that failed waits to hear of the same failure from the others of its group."""
FINISHED_SECONDS = 3600.0
"""How long a worker that is done waits for the others: the first one still writes files."""


class Recorder:
    """Runs one job and turns it into an Outcome, whatever happens.

    Args:
        base: gives the resident base, to a lane of a pack or to a trial alone.
        task_data: gives the data of the trial's task for a base.
        intact: tells whether the base is as it was loaded.
        threads: CPU threads of this process.
        pack: the trials of this process that share the passes over the base; None for a trial alone.
        alone: keeps other trials of this process from computing for the length of a `with` block; while it waits for that, it calls what
            it was given.
    """

    def __init__(
        self,
        job: Job,
        group: Group,
        report: Callable[[Progress], None],
        *,
        base: Callable[[Lane | None], BaseModel],
        data: Callable[[BaseModel], task_data.TaskData],
        intact: Callable[[Lane | None], bool],
        threads: int,
        alone: Callable[[Callable[[], None]], AbstractContextManager[None]],
        pack: Pack | None = None,
    ) -> None:
        self.job, self.trial, self.group, self.report = job, job.trial, group, report
        self._base, self._data, self._intact, self.threads = base, data, intact, threads
        self._pack, self._alone, self._lane = pack, alone, cast("Lane | None", None)
        self.started, self.clock = time.time(), time.monotonic()
        self.store = OutcomeStore(Storage.at(job.storage) / "outcomes")
        # Only the first worker has files.
        self.staging = self.store.staging(job.trial.id, job.attempt) if group.leads else Path()
        self.checkpoint = CheckpointStore(Storage.at(job.storage) / "checkpoints" / job.trial.id)
        self.meter = Meter()
        self.state = State()
        self.steps = 0
        self.peak_bytes = 0
        self.changed = False
        self.counts: Counts | None = None
        self.metrics: dict[str, float] = {}
        self.digests: dict[str, str] = {}
        self.adapter_bytes: int | None = None
        self.load_seconds: float | None = None
        self.test_reads = 0
        self.paused = False
        """Whether the trial stopped at a rung."""

    def run(self) -> Ending:
        """Run, classify what happened, and let the first worker write the Outcome.

        Returns:
            The ending that all workers share.

        Raises:
            StorageError: the Outcome could not be written; nothing of it is recorded.
            Exception: what this worker alone suffered; nothing of it is recorded.
        """
        with self._aboard():
            try:
                ending = self._attempt()
            finally:
                intact = self._intact(self._lane)
        ending = self._agreed(ending, intact)
        if self.group.leads and not ending.raised:
            self._commit(self._outcome(ending.status, ending.error))
        log.info("trial %s (%s) %s", self.trial.id, self.trial.label, ending.status)
        return ending

    @contextmanager
    def _aboard(self) -> Iterator[None]:
        """Be a lane of the pack, or alone, while there is something to compute: files are published while the next trial trains."""
        if self._pack is None:
            with self._alone(self._sign):
                # One that waited behind another trial has cost nothing until now.
                self.started, self.clock, self.meter = time.time(), time.monotonic(), Meter()
                yield
            return
        with self._pack.lane(self._sign, self.meter.spans.waited, self.job.cohort) as lane:
            self._lane = lane
            yield

    def _spent(self) -> float:
        """Return the seconds since the hand-out but for those of waiting for others in the pack."""
        return time.monotonic() - self.clock - self.meter.spans.waiting_seconds

    def _sign(self) -> None:
        self.report(Progress(self.trial.id, self.state.step, self.steps, None))

    def _commit(self, outcome: Outcome) -> None:
        if outcome.status == "pruned":
            # Whether the trial goes on from its checkpoint is decided when the others have come so far.
            OutcomeStore(Storage.at(self.job.storage) / RUNGS / str(self.job.until)).commit(self.trial, outcome)
            shutil.rmtree(self.staging, ignore_errors=True)
        else:
            self.store.commit(self.trial, outcome, self.staging)
            self.checkpoint.remove()

    def _agreed(self, ending: Ending, intact: bool) -> Ending:
        """Return how the trial ended on all workers, once all have told so.

        They tell it beside their collective operations: where one worker failed, the others wait for it in one.
        """
        told = {"status": ending.status, "raised": ending.raised, "intact": intact, "peak_bytes": self.meter.peak_bytes()}
        patience = FINISHED_SECONDS if ending.failure is None else FAILED_SECONDS
        with self.meter.spans.span("wait"):
            everyone = self.group.exchange(f"ended/{self.trial.id}/{self.job.attempt}", told, patience)
        if ending.raised and ending.failure is not None:
            raise ending.failure
        if everyone is not None and any(worker["raised"] for worker in everyone):
            return Ending("error", raised=True)
        if everyone is None or len({worker["status"] for worker in everyone}) > 1:
            others = "the others kept silent" if everyone is None else str([worker["status"] for worker in everyone])
            what = f"trial {self.trial.id}: worker {self.group.rank} of {self.group.size} ended alone ({ending.status}; {others})"
            log.error(what)
            raise ending.failure or Desynchronised(what)
        self.peak_bytes = max(worker["peak_bytes"] for worker in everyone)
        self.changed = not all(worker["intact"] for worker in everyone)
        if self.changed:
            return Ending("error", "the trial changed the base model, so its numbers are void; the base is loaded again")
        return ending

    def _attempt(self) -> Ending:
        try:
            self._train_and_test()
        except Exception as error:  # noqa: BLE001  it becomes an Outcome, or is raised again
            return ending_of(error, self.job)
        return Ending("pruned" if self.paused else "finished")

    def _train_and_test(self) -> None:
        trial = self.trial
        with self.meter.spans.span("load"):
            base = self._base(self._lane)
            task = registry.task(trial.task)
            data = self._data(base)
        reset_peak()
        with self._own(base) as own, attach(own, trial, self.group.rank) as model:
            torch.manual_seed(dropout_seed(trial, self.group.rank))
            _require_positions(model, trial.training.max_length)
            if self.job.compute.gradient_checkpointing:
                recompute_layers(model)
            if self._lane is not None:
                self._lane.take(model, base.model)
            self.counts = measured(model).counts
            training = self._training_run(model, base, task, data)
            self.state = state = training.state
            self.steps = training.steps
            self.digests |= data.digests | {"order": task_data.order_digest(training.order)}
            training.run()
            self.metrics |= state.best_metrics
            if training.paused:
                self.paused = True
                return
            predictions = [prediction_table("selection", data.selection.examples, state.best_predictions, state.best_rows)]
            if trial.phase == "report":
                predictions.append(self._test(training))
            if self.group.leads:
                with self.meter.spans.span("store"), model.aside():
                    pq.write_table(pa.concat_tables(predictions, promote_options="permissive"), self.staging / "predictions.parquet")
                    self._store_adapter(model)
        del training, model
        self._load_adapter(base)

    @contextmanager
    def _own(self, base: BaseModel) -> Iterator[BaseModel]:
        """Give the base that the trial is attached to: in a pack, modules of the lane's own around the same weights."""
        if self._lane is None:
            yield base
            return
        with self._lane.base(base.model) as own:
            yield replace(base, model=own)

    def _training_run(self, model: AdaptedModel, base: BaseModel, task: Any, data: Any) -> TrainingRun:
        job, trial = self.job, self.trial
        return TrainingRun(
            model=model,
            base=base,
            task=task,
            data=data,
            training=trial.training,
            order_seed=trial.seed_of("order"),
            deepspeed=dict(job.deepspeed),
            meter=self.meter,
            trial_id=trial.id,
            checkpoint=self.checkpoint,
            time_limit=job.time_limit,
            spent=self._spent,
            report=self.report,
            group=self.group,
            compute=job.compute,
            until=job.until,
            packed=self._lane is not None,
        )

    def _test(self, training: TrainingRun) -> pa.Table:
        """Read the test split, once, with the kept adapter state."""
        with self.meter.spans.span("load"):
            split = training.data.test(self.trial.phase)
        self.test_reads += 1
        self.digests["test"] = training.data.test_digest
        result = training.evaluate(split)
        if not math.isfinite(result.loss):
            raise Diverged("the test loss", training.state.step)
        self.metrics |= {f"test/{name}": value for name, value in result.scores.metrics.items()} | {"test/loss": result.loss}
        return prediction_table("test", split.examples, result.predictions, result.scores.rows)

    def _store_adapter(self, model: AdaptedModel) -> None:
        if not model.trainable():
            return
        small = sum(p.numel() * p.element_size() for p in model.trainable().values()) <= LARGE_ADAPTER_BYTES
        if small or self.trial.phase == "report":
            document = self.trial.model_dump(mode="json", include={"model", "method", "targets", "also_train"})
            document |= {"scale": self.trial.training.scale, "init_seed": self.trial.seed_of("init"), "num_labels": model.num_labels}
            self.adapter_bytes = storing.save(model, self.staging / "adapter", document)

    def _load_adapter(self, base: BaseModel) -> None:
        """Time how long the stored adapter takes to be loaded, once what was trained is gone."""
        if self.adapter_bytes is None or self._lane is not None or is_collective(base.model):
            # The others have not stored one, and parts of a base may be gathered by all workers together only.
            return
        if self.adapter_bytes > LARGE_ADAPTER_BYTES:
            # DeepSpeed and the model hold each other; a small adapter may wait for the next collection.
            gc.collect()
        # A profile is worth repetitions, which beside other trials would say no more.
        self.load_seconds = load_seconds(base, self.trial, self.staging / "adapter", LOADS if self.job.solo else 1)

    def _outcome(self, status: Status, error: str | None) -> Outcome:
        state = self.state
        content, environment_digest = self._environment()
        return Outcome(
            trial_id=self.trial.id,
            attempt=self.job.attempt,
            status=status,
            started=self.started,
            ended=time.time(),
            metrics={name: value for name, value in {**self.metrics, **self._at_rungs()}.items() if math.isfinite(value)},
            curves=state.curves,
            best_step=state.best_step,
            counts=self.counts,
            usage=Usage(**dict(state.usage, test_reads=self.test_reads)),
            profile=self._profile(),
            data_digests=self.digests,
            environment=content,
            environment_digest=environment_digest,
            error=error,
        )

    def _at_rungs(self) -> dict[str, float]:
        """Return what the selection split said at the rungs that the trial has passed or stands at."""
        return {
            rung_metric(step, name.removeprefix("selection/")): value
            for name, curve in self.state.curves.items()
            for step, value in curve
            if name.startswith("selection/") and step in self.job.rungs
        }

    def _environment(self) -> tuple[dict[str, Any], str]:
        execution = {
            "threads": self.threads,
            "workers": self.group.size,
            "dtype": self.trial.model.dtype,
            "deepspeed": dict(self.job.deepspeed),
            "micro_batch": self.trial.training.micro_batch,
            "packed": self.job.packed,
        }
        if chosen := self.job.compute.chosen():
            # Left out where it is the default, so that environments are those of Outcomes written before there was a choice.
            execution["compute"] = chosen
        return environment(execution, {"solo": self.job.solo, "side_by_side": self.job.side_by_side, "process": os.getpid()})

    def _profile(self) -> Profile:
        # What a trial costs alone does not show beside others.
        packed, counted, spans = self._pack is not None, self.state.operations, self.meter.spans.seconds()
        return Profile(
            seconds_per_step=None if packed else self.meter.seconds_per_step(),
            train_seconds=spans["train"] + spans["evaluate"],
            wall_seconds=time.monotonic() - self.clock,
            spans=spans,
            peak_bytes=None if packed else self.peak_bytes,
            adapter_bytes=self.adapter_bytes,
            load_seconds=self.load_seconds,
            **(asdict(counted) if counted else {}),
        )


def _require_positions(model: AdaptedModel, max_length: int) -> None:
    """Refuse virtual tokens that do not fit beside the longest text: cutting the texts of one method alone would not be fair."""
    virtual = model.method.virtual_tokens()
    left = text_positions(model.base, virtual)
    if left is not None and max_length > left:
        raise CapacityError(
            f"max_length {max_length} and {virtual} virtual tokens exceed the model's {left + virtual} positions. "
            f"Fix: training.max_length: {left}"
        )
