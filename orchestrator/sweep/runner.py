"""Runs a plan: the lock, the fleet, one Tuner over both phases, delivery to MLflow. Running it again continues."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from orchestrator import sentinel
from orchestrator.cells import Cell
from orchestrator.fairness import Edge
from orchestrator.halving import Ladder
from orchestrator.plan import Plan
from orchestrator.sweep.changeover import Changeover
from orchestrator.sweep.climb import Climb
from orchestrator.sweep.course import Course, Observer
from orchestrator.sweep.jobs import make_job
from orchestrator.sweep.lock import sweep_lock
from orchestrator.sweep.ray_session import ray_session, throw_away_folder
from orchestrator.sweep.termination import termination_as_interrupt
from orchestrator.sweep.timeline import Timeline, TimeUse
from orchestrator.sweep.widths import Widths
from orchestrator.tracking import schema
from orchestrator.tracking.connection import AccessError, exists
from orchestrator.tracking.deliverer import Deliverer
from orchestrator.tracking.delivery import Tracker
from orchestrator.tracking.records import RunReader
from search_spaces.errors import StorageError, TrackingError, UnknownNameError
from search_spaces.loading import dump_spec
from search_spaces.trial import Trial
from trainers.outcomes import OutcomeStore
from trainers.packing.choice import Choice, PackingPost
from trainers.results import SENTINELS, Outcome, Progress, SentinelPost
from trainers.storage import Storage

log = logging.getLogger(__name__)

WORKER = "trainers.worker:Worker"
TIME = "time.json"
"""Artifact of the sweep run: where the time went."""
DELIVERY_SECONDS = float(os.environ.get("FAIRSWEEP_DELIVERY_SECONDS", "120"))
"""How long the end of a run waits for a tracking store that is away; what is left is delivered by the next run."""


class Display(Observer, Protocol):
    """What shows a run while it goes on."""

    def watch(self, signs: Callable[[], list[Progress]], side_by_side: int) -> None:
        """Training begins: `signs` returns the running trials' progress."""


@dataclass
class RunResult:
    """What became of a run."""

    trials: int = 0
    skipped: int = 0
    failed: list[tuple[Trial, Outcome]] = field(default_factory=list)
    finished: int = 0
    pruned: int = 0
    """Trials that were halved out."""
    wall_seconds: float = 0.0
    train_seconds: float = 0.0
    """Seconds in training steps and evaluations, over all trials of this run."""
    side_by_side: int = 0
    longest_pause_seconds: float = 0.0
    """Longest time without training or evaluation around the change from one trial to the next, while there was one to hand out."""
    time: TimeUse = field(default_factory=TimeUse)
    """Where the workers' time went."""
    interrupted: bool = False
    undelivered: tuple[str, ...] = ()
    packing: tuple[Choice, ...] = ()
    """How many trials shared a process, and what that was chosen by, where it was measured."""
    experiment_id: str | None = None
    stopped_at: dict[Cell, tuple[Edge, ...]] = field(default_factory=dict)
    """Cells whose selected point lies on an edge of the grid, which kept the report phase from beginning."""


@dataclass(frozen=True)
class Runner:
    """Runs one plan.

    Attributes:
        storage: path or URI of the place of all sweeps.
        uri: tracking URI.
        address: Ray cluster; None for this machine.
    """

    plan: Plan
    storage: str
    uri: str
    display: Display
    documents: Mapping[str, str]
    """Artifacts of the sweep run, by file name."""
    address: str | None = None
    retry_failed: bool = False

    def run(self) -> RunResult:
        """Run what has no Outcome yet.

        Raises:
            BusyError: another driver runs this sweep.
            StorageError: the storage is full; what was recorded before is kept.
            FairsweepError: a model or data cannot be loaded, or a trial fits on no machine.
        """
        folder, begun, timeline = Storage.at(self.storage) / self.plan.spec.name, time.monotonic(), Timeline(time.time())
        with sweep_lock(folder, time.time()) as marker:
            store = OutcomeStore(folder / "outcomes")
            store.sweep_up()
            sentinel.sweep_up(folder)
            tracker = Tracker(self.uri, self.plan.spec.name, self.plan.digest)
            result = RunResult()
            # Before delivery begins: two connections must not both set up a new tracking database.
            elsewhere = _delivered_elsewhere(self.uri, self.plan.spec.name, store)
            with Deliverer(tracker, store) as deliverer:
                deliverer.put_sweep(self.documents, "running", time.time(), self._tags())
                changeover = Changeover(self.plan, lambda: {*store.ids(), *elsewhere})
                course = self._course(store, deliverer, elsewhere, changeover, self._climb(folder))
                try:
                    with termination_as_interrupt():
                        self._train(course, folder, marker, result, timeline)
                except KeyboardInterrupt:
                    result.interrupted = True
                except BaseException:
                    deliverer.put_sweep(self.documents, "failed", time.time(), self._tags())
                    raise
                self._summarise(course, result, timeline)
                result.stopped_at = changeover.stopped_at
                status = _status(course, result)
                deliverer.put_action(SENTINELS, partial(sentinel.deliver, self.uri, self.plan.spec.name, folder))
                documents = {**self.documents, TIME: json.dumps(timeline.use(time.time()).to_json(), indent=1)}
                deliverer.put_sweep(documents, status, time.time(), self._tags())
                result.undelivered = deliverer.close(DELIVERY_SECONDS)
            if course.stopped:
                raise StorageError(course.stopped)
            result.experiment_id = _experiment_id(tracker) if not result.undelivered else None
            result.wall_seconds = time.monotonic() - begun
            result.time = timeline.use(time.time())
        return result

    def _tags(self) -> dict[str, str]:
        return {schema.ACCEPTED_EDGE: "true"} if self.plan.spec.search.accept_edge else {}

    def _climb(self, folder: Storage) -> Climb | None:
        halving, plan = self.plan.spec.halving, self.plan
        return None if halving is None else Climb(Ladder(plan.trials, halving, plan.main_metrics), folder)

    def _course(
        self, store: OutcomeStore, deliverer: Deliverer, elsewhere: Mapping[str, Outcome], changeover: Changeover, climb: Climb | None
    ) -> Course:
        return Course(
            climb=climb,
            store=store,
            exploration=self.plan.exploration,
            independent=self.plan.base_trials,
            report_trials=changeover.report_trials,
            observer=_Watched(self.display, deliverer),
            retry_failed=self.retry_failed,
            elsewhere=elsewhere,
        )

    def _train(self, course: Course, folder: Storage, marker: str, result: RunResult, timeline: Timeline) -> None:
        if course.finished:
            return
        # Once more inside: Ray takes over the signals when it starts.
        with ray_session(self.address), self._alone_on_cluster(folder), throw_away_folder() as scratch, termination_as_interrupt():
            from orchestrator.sweep.tuning import Tuning

            resources = self.plan.spec.resources
            post = PackingPost(folder.uri, (), self.plan.spec.compute.settings, resources.memory)
            widths = Widths(self.plan.packing, resources.solo, post)
            tuning = Tuning(WORKER, resources, course, self._deepspeed(), SentinelPost(folder.uri, marker), widths)
            try:
                result.side_by_side = timeline.workers = len(tuning.fleet)
                self.display.watch(tuning.fleet.progress, result.side_by_side)
                job = partial(make_job, self._job(folder, marker, result.side_by_side), resources.solo)
                pauses = tuning.run(job, scratch, timeline)
                known = [(course.outcomes[key], wait) for key, wait in pauses.items() if key in course.outcomes]
                result.longest_pause_seconds = max((_pause(outcome, wait) for outcome, wait in known), default=0.0)
            finally:
                # The display must not ask members that are about to end: Ray would start anew to answer it.
                self.display.watch(list, 0)
                result.packing = widths.choices
                tuning.fleet.close()

    def _alone_on_cluster(self, folder: Storage) -> AbstractContextManager[None]:
        if self.address is None:
            return nullcontext()
        from orchestrator.sweep.cluster_lock import cluster_lock

        return cluster_lock(folder, time.time())

    def _job(self, folder: Storage, marker: str, side_by_side: int) -> dict[str, Any]:
        """Return what the jobs of all trials have in common."""
        time_limit = self.plan.spec.resources.time_limit
        common = {"storage": folder.uri, "marker": marker, "time_limit": time_limit, "side_by_side": side_by_side}
        return {**common, "deepspeed": self._deepspeed(), "compute": self.plan.spec.compute.settings}

    def _deepspeed(self) -> tuple[tuple[str, Any], ...]:
        section = self.plan.spec.deepspeed.model_dump()
        zero = {"stage": section.pop("zero_stage"), **section.pop("zero_optimization", {})}
        return (("zero_optimization", zero), *section.items())

    def _summarise(self, course: Course, result: RunResult, timeline: Timeline) -> None:
        result.trials, result.skipped = len(course.trials), course.skipped
        done = [(trial, course.outcomes[trial.id]) for trial in course.trials if trial.id in course.outcomes]
        result.failed = [(trial, outcome) for trial, outcome in done if outcome.status not in ("finished", "pruned")]
        result.pruned = sum(outcome.status == "pruned" for _, outcome in done)
        result.finished = len(done) - len(result.failed) - result.pruned
        result.train_seconds = sum(hand_out.profile.train_seconds for hand_out in timeline.hand_outs)


def sweep_documents(plan: Plan) -> dict[str, str]:
    """Return the artifacts of a plan's sweep run, by file name."""
    return {
        "spec.yaml": dump_spec(plan.spec),
        "plan.json": json.dumps(plan.document(), indent=1),
        "certificate.json": json.dumps(plan.certificate.to_json(), indent=1),
    }


def _status(course: Course, result: RunResult) -> str:
    if result.interrupted:
        return "interrupted"
    if result.failed or course.stopped:
        return "failed"
    return "stopped" if result.stopped_at else "finished"


def _pause(outcome: Outcome, wait_seconds: float) -> float:
    """Return the wait before a trial and what the trial spent on attaching, recording and storing."""
    profile = outcome.profile
    return wait_seconds + profile.wall_seconds - profile.train_seconds - profile.spans.get("wait", 0.0)


class _Watched:
    """Tells the display and the delivery what happens."""

    def __init__(self, display: Display, deliverer: Deliverer) -> None:
        self.display, self.deliverer = display, deliverer

    def planned(self, trials: int, done: int) -> None:
        self.display.planned(trials, done)

    def started(self, trial: Trial) -> None:
        self.display.started(trial)

    def paused(self, trial: Trial) -> None:
        self.display.paused(trial)

    def settled(self, trial: Trial, outcome: Outcome) -> None:
        self.deliverer.put(trial.id)
        self.display.settled(trial, outcome)


def _delivered_elsewhere(uri: str, sweep: str, store: OutcomeStore) -> dict[str, Outcome]:
    """Return Outcomes that only MLflow holds, such as those of a run with another storage; none when it does not answer.

    Raises:
        AccessError: MLflow does not accept the login, which is told before anything is trained.
    """
    if not exists(uri):
        return {}
    known = set(store.ids())
    try:
        records = RunReader(uri).runs(sweep)
    except AccessError:
        raise
    except (TrackingError, UnknownNameError):
        return {}
    found = {}
    for record in records:
        if record.delivered and record.trial_id not in known:
            try:
                found[record.trial_id] = record.outcome
            except TrackingError as error:
                log.warning("%s; the trial runs again", error)
    return found


def _experiment_id(tracker: Tracker) -> str | None:
    try:
        return tracker.experiment_id()
    except TrackingError:
        return None
