"""The Searcher that gives Ray Tune the trials of a course, each with a slot of a group of the fleet."""

from __future__ import annotations

import math
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ray.tune.search import Searcher

from cluster.fleet import Fleet
from orchestrator.sweep.bases import Bases
from orchestrator.sweep.chains import chain
from orchestrator.sweep.cohorts import cohort, pack_key
from orchestrator.sweep.course import Course
from orchestrator.sweep.slots import Lease, Slots
from orchestrator.sweep.suspects import Suspects
from orchestrator.sweep.timeline import Timeline
from orchestrator.sweep.widths import Widths
from search_spaces.errors import StorageError
from search_spaces.trial import Trial

GROWTH_SECONDS = 30.0
"""How often to look whether the cluster has room for more groups."""
ONE_EACH = Widths()


@dataclass(frozen=True)
class Batch:
    """Trials that a group of the fleet begins together.

    Attributes:
        group: number of the group.
        width: how many trials may share its process.
        trials: the first one leads.
    """

    group: int
    width: int
    trials: tuple[Trial, ...]

    @property
    def leader(self) -> str:
        """Id of the trial that leads."""
        return self.trials[0].id


class CourseSearcher(Searcher):  # type: ignore[misc]  # Ray ships no types
    """Suggests the next trial of a course while a group of the fleet has a slot for it.

    A Tune trial stands for the trials that begin together in one process: one, or where trials share processes those that can pass the
    base together. The first of them leads: it is the one that a Tune trial is paused and resumed for.

    Args:
        course: what is to run.
        fleet: its groups, started or about to be.
        bases: what each of them holds.
        start: starts a group, or starts one anew.
        room: returns how many groups the cluster has room for now.
        solo: whether each trial of the report phase has fresh processes.
        widths: how many trials may share a process.
        timeline: is told when which group had a trial.
        longest_chain: number of trials that a group is handed at a time at most, to run them one after another.
    """

    def __init__(
        self,
        course: Course,
        fleet: Fleet,
        bases: Bases,
        start: Callable[[int], None],
        room: Callable[[], int],
        solo: bool = False,
        widths: Widths = ONE_EACH,
        timeline: Timeline | None = None,
        longest_chain: int = 1,
    ) -> None:
        super().__init__(metric="settled", mode="max")
        self.course, self.fleet, self._bases = course, fleet, bases
        self._start, self._room, self._solo, self._widths, self._timeline = start, room, solo, widths, timeline
        self._slots, self._suspects, self._longest = Slots(), Suspects(), longest_chain
        self._coming: Batch | None = None
        self._leaders: dict[str, str] = {}
        """By the id of a Tune trial, the trial that leads it."""
        self._paused: dict[str, str] = {}
        """By the id of a trial, the Tune trial that was paused and waits for the trial to be handed out again."""
        self._used: set[int] = set()
        self._ended: dict[int, float] = {}
        self._growth_due = time.monotonic() + GROWTH_SECONDS
        self.pauses: dict[str, float] = {}
        """Seconds that a trial's group stood idle before it, though the trial could have been handed out; by trial id."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the configuration of a Tune trial, `FINISHED` at the end, or None while there is nothing to hand out."""
        self._stop_without_hope()
        if self.course.finished:
            return str(Searcher.FINISHED)
        self._grow()
        try:
            self._coming = self._coming or self._begin() or self._join()
        except StorageError as problem:
            # Raised from here it would reach the user as Tune's stack trace.
            self.course.stop(str(problem))
        if self._coming is None or self.course.finished or self._coming.leader in self._paused:
            return None
        return self._next(trial_id, self._coming)

    def pause(self, trial_id: str, result: dict[str, Any]) -> bool:
        """Free the slots of a Tune trial whose hand-outs have ended; tell whether it is to wait until its leader is handed out again."""
        name = self._leaders[trial_id]
        self.on_trial_complete(trial_id, result)
        if self.course.is_settled(name) or self.course.finished or name in self._paused:
            return False
        self._paused[name] = trial_id
        return True

    def resume(self) -> tuple[str, dict[str, Any]] | None:
        """Return the paused Tune trial that goes on now, with its new configuration; None while there is none."""
        if self._coming is None or self.course.finished or (trial_id := self._paused.pop(self._coming.leader, None)) is None:
            return None
        return trial_id, self._next(trial_id, self._coming)

    def done(self) -> list[str]:
        """Return the paused Tune trials that will not go on, once each."""
        found = {name: trial_id for name, trial_id in self._paused.items() if self.course.finished or self.course.is_settled(name)}
        for name in found:
            del self._paused[name]
        return list(found.values())

    def _next(self, trial_id: str, batch: Batch) -> dict[str, Any]:
        """Return the configuration of the hand-outs that come next, and note that they have their slots."""
        self._coming, self._leaders[trial_id] = None, batch.leader
        for trial in batch.trials:
            self._slots.take(trial_id, trial.id, batch.group, pack_key(trial, batch.width), alone=trial.id in self._suspects)
        self._used.add(batch.group)
        for trial in batch.trials if batch.width > 1 else batch.trials[:1]:
            self.course.begun(trial.id)
        common = {"packed": batch.width, "cohort": (uuid.uuid4().hex, len(batch.trials))}
        legs = [{"until": self.course.until(trial.id), "rungs": self.course.rungs(trial.id)} for trial in batch.trials]
        jobs = {trial.id: {"trial": trial.model_dump_json(), **common, **leg} for trial, leg in zip(batch.trials, legs, strict=True)}
        return {"jobs": jobs, "pauses": legs[0]["until"] is not None, "group": batch.group, "members": self.fleet.names(batch.group)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Take back the trials whose hand-outs have ended."""
        for ending in result.get("endings", ()):
            if lease := self._slots.free(trial_id, ending["trial_id"]):
                self._take_back(lease, ending)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Take back all trials of a Tune trial: of those that have no ending, the proxy was lost."""
        self.on_trial_result(trial_id, result or {})
        self._leaders.pop(trial_id, None)
        for lease in self._slots.held_by(trial_id):
            self._slots.free(trial_id, lease.trial_id)
            self._take_back(lease, {})

    def _take_back(self, lease: Lease, result: Mapping[str, Any]) -> None:
        """Form the group anew if need be, and let the course look for the Outcome."""
        self._note_pause(lease.trial_id, lease.group, result)
        if result.get("fatal"):
            self.course.stop(str(result["fatal"]))
            if self._slots.company(lease) and lease.pack.width == 1:
                # Those that come after it could not be written either.
                self.fleet.end(lease.group)
        lost = "ended" not in result
        if lost and self._slots.stands(lease):
            # The group may still be at it.
            self.fleet.end(lease.group)
        reason = str(result.get("reason") or ("the proxy of the trial was lost" if lost else ""))
        died = lost or bool(result.get("broken"))
        begun = bool(result.get("begun", True))
        counted = self._is_guilty(lease, begun) if died else begun
        try:
            self.course.returned(lease.trial_id, reason, counted=counted)
        except (StorageError, OSError) as problem:
            # Raised from here it would reach the user as Tune's stack trace.
            self.course.stop(str(problem))
        if self._timeline is not None and self.course.profile is not None and not lost:
            self._timeline.note(lease.group, result["began"], result["ended"], self.course.profile)
        if lease.trial_id in self.course.outcomes:
            self._suspects.clear(lease.trial_id)
        if not died and lease.pack.width == 1 and (company := self._slots.company(lease)):
            self.course.begun(company[0])
        if died and self._slots.stands(lease) and not self.course.finished:
            self._renew(lease.group)

    # ---------------------------------------------------------------------------------------------------------- hand-outs

    def _begin(self) -> Batch | None:
        """Hand out the trials that an idle group begins with."""
        waiting = self.course.waiting()
        group = self._free_group(waiting)
        if group is None:
            return None
        model = self._bases.choose(group, waiting)
        if model is None:
            return None
        trial = self.course.upcoming(model)
        if trial is None or not self._fresh_enough(group, trial):
            return None
        if self._bases.held(group) != model and group in self._used and self._widths.is_open(trial):
            # It measures when it loads the base.
            self._renew(group)
            return None
        self._bases.hold(group, model)
        return self._hand_out(group, trial, self._widths.of(trial))

    def _join(self) -> Batch | None:
        """Hand out trials to a group that has become half empty, while none is idle."""
        if self._idle():
            return None
        for group in self.fleet.ready():
            leases = self._slots.of(group)
            if leases and (room := self._slots.room(group)):
                pack = leases[0].pack
                for trial in self.course.queued(pack.model):
                    if trial.id not in self._suspects and pack_key(trial, self._widths.of(trial)) == pack:
                        return self._hand_out(group, trial, room)
        return None

    def _hand_out(self, group: int, first: Trial, room: int) -> Batch:
        """Hand out a trial, and those that begin together with it; a trial under suspicion begins alone."""
        width, trials = self._widths.of(first), [first]
        if room > 1 and first.id not in self._suspects:
            queued = [trial for trial in self.course.queued(first.model) if trial.id not in self._suspects]
            queued = [trial for trial in queued if self.course.goal(trial.id) == self.course.goal(first.id)]
            share = math.ceil(len(queued) / max(1, self._idle()))
            trials = cohort(first, queued, width, max(1, min(room, share)))
        elif width == 1:
            trials = chain(first, self.course, self._widths, self._suspects, len(self.fleet), self._longest)
        return Batch(group, width, tuple(self.course.take(trial) for trial in trials))

    def _idle(self) -> int:
        """Return the number of groups that are, or are about to be, free."""
        return self.fleet.expected() - self._slots.busy()

    def _is_guilty(self, lease: Lease, begun: bool) -> bool:
        """Tell whether a trial alone can have brought its process down; where others were in it, all of them come under suspicion."""
        if not self._slots.stands(lease):
            return False
        company = self._slots.company(lease)
        if begun and not company:
            self._suspects.convict(lease.trial_id)
            return True
        if company:
            self._suspects.suspect([lease.trial_id, *company] if begun else company)
        return False

    # ------------------------------------------------------------------------------------------------------------- groups

    def _free_group(self, waiting: Mapping[Any, int]) -> int | None:
        """Return a free group, best one whose base has waiting trials; of several the one that has been free for longest."""
        free = sorted((g for g in self.fleet.ready() if not self._slots.of(g)), key=lambda group: self._ended.get(group, 0.0))
        held = [group for group in free if self._bases.held(group) in waiting]
        return next(iter(held or free), None)

    def _fresh_enough(self, group: int, trial: Trial) -> bool:
        """Tell whether a group may run a trial now; the processes of one that may not are started anew."""
        if not self._solo or trial.phase != "report" or group not in self._used:
            return True
        self._renew(group)
        return False

    def _renew(self, group: int) -> None:
        self._used.discard(group)
        self._slots.renew(group)
        self._start(group)

    def _grow(self) -> None:
        if self._solo or time.monotonic() < self._growth_due:
            return
        self._growth_due = time.monotonic() + GROWTH_SECONDS
        wanted = min(self._room(), len(self.fleet) + sum(self.course.waiting().values()))
        for group in range(len(self.fleet), wanted):
            self._renew(group)

    def _stop_without_hope(self) -> None:
        if not self._slots and (problem := self.fleet.hopeless()) is not None:
            self.course.stop(str(problem))

    def _note_pause(self, trial_id: str, group: int, result: Mapping[str, Any]) -> None:
        if "ended" not in result:
            return
        if group in self._ended:
            self.pauses[trial_id] = max(0.0, result["began"] - max(self._ended[group], self.course.available_since(trial_id)))
        self._ended[group] = result["ended"]

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its searcher into a snapshot that is never read.
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: what is done is decided by Outcomes only."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""
