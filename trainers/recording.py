"""Turns the running of one job, by one worker or by a group of them, into an Outcome."""

from __future__ import annotations

import gc
import logging
import math
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch

from search_spaces.errors import CapacityError, FairsweepError, StorageError
from trainers import data as task_data
from trainers import registry
from trainers.adapters import storing
from trainers.adapters.attach import AdaptedModel
from trainers.adapters.partition import is_collective
from trainers.adapters.virtual_tokens import text_positions
from trainers.api import Example, Prediction
from trainers.attachment import attach, dropout_seed, load_seconds
from trainers.checkpoint_store import CheckpointStore
from trainers.counting import measured
from trainers.dealing import TimeLimit
from trainers.group import Group
from trainers.loop import Diverged, State, TrainingRun
from trainers.meter import Meter, environment, reset_peak
from trainers.models import BaseModel
from trainers.outcomes import OutcomeStore
from trainers.redaction import redacted, traceback_text
from trainers.results import Counts, Job, Outcome, Profile, Progress, Status, Usage
from trainers.storage import FULL, Storage, storage_error

log = logging.getLogger(__name__)

LARGE_ADAPTER_BYTES = 64 * 2**20
"""A select-phase adapter larger than this is not stored: it is never exported, and a sweep has many."""


FAILED_SECONDS = 30.0
"""How long a worker that failed waits to hear of the same failure from the others of its group."""
FINISHED_SECONDS = 3600.0
"""How long a worker that is done waits for the others: the first one still writes files."""


class Desynchronised(Exception):
    """The workers of a group did not end alike: what one of them suffers is no result of the trial."""


@dataclass
class Ending:
    """How a trial ended on one worker."""

    status: Status
    error: str | None = None
    failure: Exception | None = None
    """What was raised."""
    raised: bool = False
    """Whether it is raised again, since it says nothing of the trial."""

    @property
    def in_step(self) -> bool:
        """Whether the workers are surely in step afterwards, so that the next trial may go on from here."""
        return self.failure is None or isinstance(self.failure, (Diverged, TimeLimit, FairsweepError))


class Recorder:
    """Runs one job and turns it into an Outcome, whatever happens.

    Args:
        base: gives the resident base.
        task_data: gives the data of the trial's task for a base.
        intact: tells whether the base is as it was loaded.
        threads: CPU threads of this process.
    """

    def __init__(
        self,
        job: Job,
        group: Group,
        report: Callable[[Progress], None],
        *,
        base: Callable[[], BaseModel],
        data: Callable[[BaseModel], task_data.TaskData],
        intact: Callable[[], bool],
        threads: int,
    ) -> None:
        self.job, self.trial, self.group, self.report = job, job.trial, group, report
        self._base, self._data, self._intact, self.threads = base, data, intact, threads
        self.started, self.clock = time.time(), time.monotonic()
        self.store = OutcomeStore(Storage.at(job.storage) / "outcomes")
        # Only the first worker has files.
        self.staging = self.store.staging(job.trial.id, job.attempt) if group.leads else Path()
        self.checkpoint = CheckpointStore(Storage.at(job.storage) / "checkpoints" / job.trial.id)
        self.meter = Meter()
        self.state = State()
        self.peak_bytes = 0
        self.changed = False
        self.counts: Counts | None = None
        self.metrics: dict[str, float] = {}
        self.digests: dict[str, str] = {}
        self.adapter_bytes: int | None = None
        self.load_seconds: float | None = None
        self.test_reads = 0

    def run(self) -> Ending:
        """Run, classify what happened, and let the first worker write the Outcome.

        Returns:
            The ending that all workers share.

        Raises:
            StorageError: the Outcome could not be written; nothing of it is recorded.
            Exception: what this worker alone suffered; nothing of it is recorded.
        """
        try:
            ending = self._attempt()
        finally:
            intact = self._intact()
        ending = self._agreed(ending, intact)
        if self.group.leads and not ending.raised:
            self.store.commit(self.trial, self._outcome(ending.status, ending.error), self.staging)
            self.checkpoint.remove()
        log.info("trial %s (%s) %s", self.trial.id, self.trial.label, ending.status)
        return ending

    def _agreed(self, ending: Ending, intact: bool) -> Ending:
        """Return how the trial ended on all workers, once all have told so.

        They tell it beside their collective operations: where one worker failed, the others wait for it in one.
        """
        told = {"status": ending.status, "raised": ending.raised, "intact": intact, "peak_bytes": self.meter.peak_bytes()}
        patience = FINISHED_SECONDS if ending.failure is None else FAILED_SECONDS
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
        except Diverged as error:
            return Ending("diverged", str(error), error)
        except (MemoryError, torch.cuda.OutOfMemoryError) as error:
            return Ending("out_of_memory", repr(error), error)
        except StorageError as error:
            return Ending("error", str(error), error, raised=True)
        except (TimeLimit, FairsweepError) as error:
            return Ending("error", str(error), error)
        except OSError as error:
            if error.errno in FULL:
                return Ending("error", str(error), storage_error(self.job.storage, error), raised=True)
            return Ending("error", traceback_text(error), error)
        except Exception as error:  # noqa: BLE001  whatever a trial does wrong is its Outcome
            log.warning("trial %s failed: %s", self.trial.id, redacted(repr(error)))
            return Ending("out_of_memory" if _is_allocation_failure(error) else "error", traceback_text(error), error)
        return Ending("finished")

    def _train_and_test(self) -> None:
        trial = self.trial
        base = self._base()
        task = registry.task(trial.task)
        data = self._data(base)
        reset_peak()
        with attach(base, trial, self.group.rank) as model:
            torch.manual_seed(dropout_seed(trial, self.group.rank))
            _require_positions(model, trial.training.max_length)
            self.counts = measured(model).counts
            training = self._training_run(model, base, task, data)
            self.state = state = training.state
            self.digests |= data.digests | {"order": task_data.order_digest(training.order)}
            training.run()
            self.metrics |= state.best_metrics
            predictions = [_table("selection", data.selection.examples, state.best_predictions, state.best_rows)]
            if trial.phase == "report":
                predictions.append(self._test(training))
            if self.group.leads:
                pq.write_table(pa.concat_tables(predictions, promote_options="permissive"), self.staging / "predictions.parquet")
                self._store_adapter(model)
        del training, model
        self._load_adapter(base)

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
            deadline=math.inf if job.time_limit is None else self.clock + job.time_limit,
            report=self.report,
            group=self.group,
        )

    def _test(self, training: TrainingRun) -> pa.Table:
        """Read the test split, once, with the kept adapter state."""
        split = training.data.test(self.trial.phase)
        self.test_reads += 1
        self.digests["test"] = training.data.test_digest
        result = training.evaluate(split)
        if not math.isfinite(result.loss):
            raise Diverged("the test loss", training.state.step)
        self.metrics |= {f"test/{name}": value for name, value in result.scores.metrics.items()} | {"test/loss": result.loss}
        return _table("test", split.examples, result.predictions, result.scores.rows)

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
        if self.adapter_bytes is None or is_collective(base.model):
            # The others have not stored one, and parts of a base may be gathered by all workers together only.
            return
        if self.adapter_bytes > LARGE_ADAPTER_BYTES:
            # DeepSpeed and the model hold each other; a small adapter may wait for the next collection.
            gc.collect()
        self.load_seconds = load_seconds(base, self.trial, self.staging / "adapter")

    def _outcome(self, status: Status, error: str | None) -> Outcome:
        state = self.state
        content, environment_digest = self._environment()
        return Outcome(
            trial_id=self.trial.id,
            attempt=self.job.attempt,
            status=status,
            started=self.started,
            ended=time.time(),
            metrics={name: value for name, value in self.metrics.items() if math.isfinite(value)},
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

    def _environment(self) -> tuple[dict[str, Any], str]:
        execution = {
            "threads": self.threads,
            "workers": self.group.size,
            "dtype": self.trial.model.dtype,
            "deepspeed": dict(self.job.deepspeed),
            "micro_batch": self.trial.training.micro_batch,
            "packed": 1,
        }
        return environment(execution, {"solo": self.job.solo, "side_by_side": self.job.side_by_side, "process": os.getpid()})

    def _profile(self) -> Profile:
        counted = self.state.operations
        return Profile(
            seconds_per_step=self.meter.seconds_per_step(),
            train_seconds=self.meter.busy_seconds,
            wall_seconds=time.monotonic() - self.clock,
            peak_bytes=self.peak_bytes,
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


def _table(split: str, examples: tuple[Example, ...], predictions: list[Prediction], rows: list[dict[str, float]] | None) -> pa.Table:
    """Return a split's predictions, with `reference` where what is right is one value per example, and the metrics that rows have."""
    columns: dict[str, Any] = {
        "split": [split] * len(examples),
        "id": [e.id for e in examples],
        "group": [e.group for e in examples],
        "prediction": predictions,
    }
    references = [e.references for e in examples]
    if _scalars(references):
        columns["reference"] = references
    for name in rows[0] if rows else ():
        columns[name] = [float(row[name]) for row in rows or ()]
    return pa.table(columns)


def _scalars(values: list[Any]) -> bool:
    """Whether the values are all texts, or all numbers that a double holds exactly."""
    kinds = {type(value) for value in values}
    return kinds == {str} or (bool(kinds) and kinds <= {int, float} and all(abs(value) <= 2**53 for value in values))


def _is_allocation_failure(error: Exception) -> bool:
    return isinstance(error, RuntimeError) and ("can't allocate memory" in str(error) or "out of memory" in str(error).lower())
