"""Runs one Trial to one Outcome. `python -m trainers.worker trial.json` replays a trial by hand.

A worker is a long-lived process: it keeps the base model and the tokenised data between trials and rebuilds only the adapter, the
optimiser and the schedule. It never raises for what a trial does wrong: that is an Outcome too.
"""

from __future__ import annotations

import argparse
import gc
import logging
import sys
import tempfile
import uuid
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch._C._distributed_c10d import TCPStore

import trainers.determinism  # noqa: F401  must come before torch computes anything
from search_spaces.errors import FairsweepError
from search_spaces.trial import DataRef, ModelRef, Trial
from trainers import data as task_data
from trainers import models, registry, sentinel
from trainers.adapters.partition import release_all
from trainers.adapters.snapshot import fingerprint
from trainers.adapters.virtual_tokens import table_of_positions
from trainers.engine import zero_stage
from trainers.group import Group, alone, joined, meeting_point
from trainers.locations import cache_root
from trainers.models import BaseModel
from trainers.outcomes import OutcomeStore
from trainers.packing.choice import PackingPost
from trainers.packing.lane import Lane
from trainers.packing.measure import Bench, measure
from trainers.packing.pack import Pack
from trainers.partitioning import PARTITIONED, Partitioned
from trainers.recording import Recorder
from trainers.results import Job, Progress, SentinelPost, Status
from trainers.storage import Storage

log = logging.getLogger(__name__)


class Worker:
    """Holds a base model and tokenised data, and runs trials on them one after another, alone or as one of a group.

    All workers of a group get the same calls. The first one records what they do.

    Args:
        threads: CPU threads of torch; fixed per sweep, since it changes how sums are rounded.
    """

    def __init__(self, threads: int = 1) -> None:
        torch.set_num_threads(threads)
        self.threads = threads
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self._group: Group | None = None
        self._meeting_point: TCPStore | None = None
        self._base: BaseModel | None = None
        self._zero: Mapping[str, Any] | None = None
        self._partitioned: Partitioned | None = None
        self._fingerprint = ""
        self._data: dict[Any, task_data.TaskData] = {}
        self.pack = Pack(threads)
        self._markers: set[str] = set()
        """Of the runs whose storage this process has seen."""

    # ------------------------------------------------------------------------------------------------------------- group

    def serve_rendezvous(self, host: str, size: int) -> int:
        """Open the place where the workers of a group meet, which listens on `host` only; return its port.

        Args:
            host: an address of this machine that all workers reach.
            size: number of workers.

        Raises:
            OSError: this machine has no such address.
        """
        self._meeting_point = meeting_point(host, size)
        return self._meeting_point.port

    def join(self, rank: int, size: int, host: str, port: int) -> None:
        """Form the group with the other workers, before any trial; wait for them.

        Raises:
            RuntimeError: this process belongs to a group already, or a worker did not come in time.
        """
        self._group = joined(rank, size, host, port, self._meeting_point)

    @property
    def group(self) -> Group:
        """The group that this worker has joined, or that of it alone."""
        return self._group or alone()

    # -------------------------------------------------------------------------------------------------------------- base

    def prepare(
        self,
        model: ModelRef,
        data: list[tuple[str, DataRef, int, int]],
        deepspeed: Sequence[tuple[str, Any]] = (),
        sentinels: SentinelPost | None = None,
        packing: PackingPost | None = None,
    ) -> None:
        """Load a base and the data of tasks ahead of the first trial, so that what is missing shows before any training.

        Args:
            deepspeed: DeepSpeed settings of the trials: with ZeRO-3 the base is loaded in parts.
            sentinels: where the sentinel of this environment is recorded, which is run first if the sweep has none; None runs none.
            packing: what is measured to choose how many trials share a process; None measures nothing.

        Raises:
            ModelError: the model cannot be loaded.
            DataError: the data of a task cannot be loaded.
        """
        if sentinels is not None:
            sentinel.stand(sentinels, self.group, self.run)
        with self.pack.alone():
            base = self.base(model, deepspeed)
            for task, ref, max_length, max_new_tokens in data:
                self._task_data(base, task, ref, max_length, max_new_tokens)
        if packing is not None:
            measure(Bench(self.pack, base, partial(self._data_of, base), packing.compute, self.group), packing)
        self.group.barrier()
        gc.collect()
        gc.freeze()

    def base(self, ref: ModelRef, deepspeed: Sequence[tuple[str, Any]] = ()) -> BaseModel:
        """Return the resident base, loading it when it is another one, or is to be held in another way."""
        settings = dict(deepspeed)
        zero = settings.get("zero_optimization") if zero_stage(settings) == PARTITIONED else None
        if self._base is None or self._base.ref != ref or self._zero != zero:
            self._drop_base()
            loaded = models.load(ref, self.device if zero is None else "cpu")
            if zero is not None:
                self._partitioned = Partitioned(loaded.model, zero, self.group)
                loaded.model.to(self.device)
            self._base, self._zero, self._fingerprint = loaded, zero, fingerprint(loaded.model)
        return self._base

    def check_base(self) -> bool:
        """Tell whether the resident base is as it was loaded; one that is not is dropped, and the next trial loads it afresh."""
        if self._base is None:
            return True
        release_all(self._base.model)
        if fingerprint(self._base.model) == self._fingerprint:
            return True
        log.error("the base model was changed by a trial; it is loaded again")
        self._drop_base()
        return False

    def _drop_base(self) -> None:
        self._base = None
        self.pack.let_go()
        if self._partitioned is not None:
            self._partitioned.close()
            self._partitioned = None

    # ------------------------------------------------------------------------------------------------------------ trials

    def run(self, job: Job, report: Callable[[Progress], None] = lambda progress: None) -> Status:
        """Run a trial and write its Outcome.

        Returns:
            The Outcome's status, the same on all workers of a group.

        Raises:
            StorageError: the Outcome could not be written, or would be where the driver does not see it; nothing of it is recorded.
            Exception: what this worker of a group suffered and the others did not; nothing of it is recorded.
        """
        if job.marker and job.marker not in self._markers:
            Storage.at(job.storage).require(job.marker)
            self._markers.add(job.marker)
        recorder = Recorder(
            job,
            self.group,
            report,
            base=lambda lane: self._base_for(job, lane),
            data=lambda base: self._data_of(base, job.trial),
            intact=self._intact_for,
            threads=self.threads,
            pack=self.pack if job.packed > 1 else None,
            alone=self.pack.alone,
        )
        ending = recorder.run()
        # One process drops a changed base when it sees that; by now the next trial may have loaded another.
        if (recorder.changed and self.group.size > 1) or (self._partitioned is not None and not ending.in_step):
            self._drop_base()
        if self.group.size > 1 and not ending.in_step:
            self.group.renew(job.attempt)
        return ending.status

    def _base_for(self, job: Job, lane: Lane | None) -> BaseModel:
        """Return the base of a job; a lane that needs another one than the lanes beside it waits for their end."""
        if lane is not None:
            self.pack.settle(lane, lambda: self._base is not None and self._base.ref == job.trial.model and self._zero is None)
        return self.base(job.trial.model, job.deepspeed)

    def _intact_for(self, lane: Lane | None) -> bool:
        """Tell whether the base was as it was loaded all the time that a trial was on it; whatever changed it, all lanes have suffered."""
        if lane is not None and lane.void:
            return False
        intact = self.check_base()
        if not intact:
            self.pack.void()
        return intact

    def _data_of(self, base: BaseModel, trial: Trial) -> task_data.TaskData:
        training = trial.training
        return self._task_data(base, trial.task, trial.data, training.max_length, training.max_new_tokens)

    def _task_data(self, base: BaseModel, task: str, ref: DataRef, max_length: int, max_new_tokens: int) -> task_data.TaskData:
        key = (task, ref.digest, ref.train, ref.selection, ref.test, ref.seed, base.ref, max_length, max_new_tokens)
        if key not in self._data:
            cache = cache_root() / "data"
            # The same for every method, whether it takes positions of its own or not.
            max_length = min(max_length, table_of_positions(base.model) or max_length)
            self._data[key] = task_data.load(
                registry.task(task),
                ref,
                base.tokenizer,
                max_length=max_length,
                max_new_tokens=max_new_tokens,
                cache=cache,
                has_head=base.has_head,
            )
        return self._data[key]


def main(arguments: list[str] | None = None) -> int:
    """Replay one trial without Ray: reads a `trial.json`, writes the Outcome below `--out` and its JSON to stdout."""
    parser = argparse.ArgumentParser(prog="python -m trainers.worker", description="Replay one trial without Ray.")
    parser.add_argument("trial", type=Path, help="a trial.json, from an outcome's folder or from MLflow")
    parser.add_argument("--out", type=Path, help="where to write the Outcome (default: a new temporary folder)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    options = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, stream=sys.stderr)
    storage = options.out or Path(tempfile.mkdtemp(prefix="fairsweep-replay-"))
    try:
        trial = Trial.model_validate_json(options.trial.read_text())
        store = OutcomeStore(storage / "outcomes")
        Worker(options.threads).run(Job(trial, uuid.uuid4().hex[:8], str(storage)))
        outcome = store.read(trial.id)
    except (FairsweepError, OSError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    assert outcome is not None
    sys.stdout.write(outcome.model_dump_json(indent=1) + "\n")
    return 0 if outcome.status == "finished" else 1


if __name__ == "__main__":
    sys.exit(main())
