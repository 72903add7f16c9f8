"""Measures what packing brings: the trials of a sweep take a few steps on the real base and batches, alone and in packs."""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, replace

from search_spaces.compute import Compute
from search_spaces.trial import Checkpointing, Trial
from trainers import registry
from trainers.adapters.recomputation import recompute_layers
from trainers.attachment import attach
from trainers.data import TaskData, width_of
from trainers.group import Group
from trainers.loop import TrainingRun
from trainers.meter import Meter, peak_bytes, reset_peak
from trainers.models import BaseModel
from trainers.packing.choice import LARGEST_CHOICE, Choice, Choices, Kind, Measurement, PackingPost, choose
from trainers.packing.memory import MemoryModel, fits, resident_bytes, share_bytes, widths
from trainers.packing.pack import Pack
from trainers.storage import Storage

log = logging.getLogger(__name__)

WARM_UP_STEPS = 1
"""Steps that are not timed: the first one, which takes the longest examples for the peak of memory."""
FEWEST_STEPS, MOST_STEPS = 2, 32
WIDTH_SECONDS = 1.0
"""How long one trial alone is timed at least, if `MOST_STEPS` take that long."""
CHEAP_SECONDS = 5.0
"""After a pack that does not pay, a wider one is tried if its steps are over sooner: on small bases eight may pay where two do not."""


@dataclass(frozen=True)
class Bench:
    """Where trials are measured.

    Attributes:
        pack: of this process.
        base: the resident base.
        data: gives the data of a trial.
        compute: how trials compute.
        group: of this process alone.
    """

    pack: Pack
    base: BaseModel
    data: Callable[[Trial], TaskData]
    compute: Compute
    group: Group

    def measured(self, trials: Sequence[Trial], lanes: int, steps: int) -> Measurement:
        """Let trials take steps at the same time; they are taken in turn until each lane has one.

        Raises:
            Exception: what a lane raised, such as an error for lack of memory.
        """
        chosen = [trials[number % len(trials)] for number in range(lanes)]
        reset_peak()
        if lanes == 1:
            with self.pack.alone():
                marks = [self._take_steps(chosen[0], steps, None)]
        else:
            cohort = (uuid.uuid4().hex, lanes)
            with ThreadPoolExecutor(lanes, thread_name_prefix="measure") as threads:
                marks = list(threads.map(lambda trial: self._take_steps(trial, steps, cohort), chosen))
        seconds = max(found[-1] for found in marks) - max(found[WARM_UP_STEPS - 1] for found in marks)
        return Measurement(lanes=lanes, steps_per_second=lanes * steps / max(seconds, 1e-9), peak_bytes=peak_bytes())

    def _take_steps(self, trial: Trial, steps: int, cohort: tuple[str, int] | None) -> list[float]:
        """Train for a few steps; return when each of them ended."""
        marks: list[float] = []
        with ExitStack() as stack:
            base = self.base
            lane = None if cohort is None else stack.enter_context(self.pack.lane(cohort=cohort))
            if lane is not None:
                base = replace(base, model=stack.enter_context(lane.base(base.model)))
            model = stack.enter_context(attach(base, trial))
            if lane is not None:
                lane.take(model, self.base.model)
            if self.compute.gradient_checkpointing:
                recompute_layers(model)
            data, until = self.data(trial), WARM_UP_STEPS + steps
            # One step more than is taken: nothing is evaluated.
            budget = {"epochs": None, "steps": until + 1, "checkpoint": Checkpointing(best=None, evaluations=1)}
            run = TrainingRun(
                model=model,
                base=base,
                task=registry.task(trial.task),
                data=data,
                training=trial.training.model_copy(update=budget),
                order_seed=trial.seed_of("order"),
                deepspeed={},
                meter=Meter(),
                trial_id=trial.id,
                report=lambda _: marks.append(time.perf_counter()),
                group=self.group,
                compute=self.compute,
                until=until,
                packed=True,
            )
            run.order[0] = sorted(range(len(data.train)), key=lambda row: -width_of(data.train[row]))[: len(run.order[0])]
            run.run()
        return marks


def measure(bench: Bench, post: PackingPost) -> None:
    """Measure the kinds of trials of which nothing is known yet, and leave the widths that pay for the driver."""
    choices = Choices(Storage.at(post.storage))
    for kind, trials in choices.missing(post.trials).items():
        choice = chosen(bench, kind, trials, share_bytes(post.memory, post.side_by_side))
        told = ", ".join(f"{m.lanes}: {m.gain:.2f} x, {m.peak_bytes / 2**20:,.0f} MiB" for m in choice.measured)
        log.info("packing %s on %s: %d at once (%s; %s)", kind.task, kind.model.id, choice.lanes, told, choice.reason)
        choices.propose(kind, choice)


def chosen(bench: Bench, kind: Kind, trials: Sequence[Trial], limit_bytes: int) -> Choice:
    """Measure wider and wider packs and return the choice.

    The search ends where a pack would not fit in memory, or where one did not pay and the next takes long.
    """
    resting, found, predicted, reason = resident_bytes(), list[Measurement](), None, "as many as were tried"
    try:
        # A process computes slowly when it computes for the first time.
        probe = bench.measured(trials, 1, FEWEST_STEPS)
        steps = max(FEWEST_STEPS, min(MOST_STEPS, round(WIDTH_SECONDS * probe.steps_per_second)))
        found.append(bench.measured(trials, 1, steps))
        alone = [1 / found[0].steps_per_second]
        for lanes in widths(LARGEST_CHOICE)[1:]:
            if choose(found) < found[-1].lanes and lanes * (WARM_UP_STEPS + steps) / found[-1].steps_per_second > CHEAP_SECONDS:
                reason = f"{found[-1].lanes} brought nothing, and {lanes} would take long to measure"
                break
            memory = MemoryModel(resting, tuple(found))
            if not fits(memory, lanes, limit_bytes):
                predicted, reason = memory.predicted(lanes), f"{lanes} would not fit in memory"
                break
            packed = bench.measured(trials, lanes, steps)
            # The first measurement stands for the first trial, which is not repeated; more lanes than trials take them in turn.
            alone += [1 / bench.measured([trial], 1, steps).steps_per_second for trial in trials[len(alone) : lanes]]
            one_by_one = sum(alone[lane % len(trials)] for lane in range(lanes)) / lanes
            found.append(packed.model_copy(update={"gain": packed.steps_per_second * one_by_one}))
    except Exception as error:  # noqa: BLE001  a trial tells by itself what is wrong with it
        reason = f"{2 * found[-1].lanes if found else 1} failed: {error!r:.200}"
        log.warning("packing %s on %s: %s", kind.task, kind.model.id, reason)
    return Choice(
        model=kind.model.id,
        task=kind.task,
        shape=kind.shape,
        lanes=choose(found) if found else 1,
        measured=tuple(found),
        limit_bytes=limit_bytes,
        predicted_bytes=predicted,
        reason=reason,
    )
