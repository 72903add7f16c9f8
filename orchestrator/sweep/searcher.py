"""The Searcher that gives Ray Tune the trials of a course, each with a free group of the fleet."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from ray.tune.search import Searcher

from cluster.fleet import Fleet
from orchestrator.sweep.bases import Bases
from orchestrator.sweep.course import Course
from search_spaces.errors import StorageError
from search_spaces.trial import Trial

GROWTH_SECONDS = 30.0
"""How often to look whether the cluster has room for more groups."""


class CourseSearcher(Searcher):  # type: ignore[misc]  # Ray ships no types
    """Suggests the next trial of a course while a group of the fleet is free.

    Args:
        course: what is to run.
        fleet: its groups, started or about to be.
        bases: what each of them holds.
        start: starts a group, or starts one anew.
        room: returns how many groups the cluster has room for now.
        solo: whether each trial of the report phase has fresh processes.
    """

    def __init__(
        self, course: Course, fleet: Fleet, bases: Bases, start: Callable[[int], None], room: Callable[[], int], solo: bool = False
    ) -> None:
        super().__init__(metric="settled", mode="max")
        self.course, self.fleet, self._bases = course, fleet, bases
        self._start, self._room, self._solo = start, room, solo
        self._leases: dict[str, tuple[str, int]] = {}
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
        waiting = self.course.waiting()
        group = self._free_group(waiting)
        if group is None:
            return None
        model = self._bases.choose(group, waiting)
        if model is None or not self._fresh_enough(group, self.course.upcoming(model)):
            return None
        trial = self.course.next(model)
        assert trial is not None
        self._leases[trial_id] = (trial.id, group)
        self._bases.hold(group, model)
        self._used.add(group)
        return {"trial": trial.model_dump_json(), "group": group, "members": self.fleet.names(group)}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Free the group, or form it anew, and let the course look for the Outcome."""
        if trial_id not in self._leases:
            return
        fairsweep_id, group = self._leases.pop(trial_id)
        result = result or {}
        self._note_pause(fairsweep_id, group, result)
        if result.get("fatal"):
            self.course.stop(str(result["fatal"]))
        lost = error or "ended" not in result
        if lost:
            # The group may still be at it.
            self.fleet.end(group)
        reason = str(result.get("reason") or ("the proxy of the trial was lost" if lost else ""))
        try:
            self.course.returned(fairsweep_id, reason, counted=bool(result.get("begun", True)))
        except (StorageError, OSError) as problem:
            # Raised from here it would reach the user as Tune's stack trace.
            self.course.stop(str(problem))
        if (lost or result.get("broken")) and not self.course.finished:
            self._renew(group)

    def _free_group(self, waiting: Mapping[Any, int]) -> int | None:
        """Return a free group, best one whose base has waiting trials; of several the one that has been free for longest."""
        leased = {group for _, group in self._leases.values()}
        free = sorted((g for g in self.fleet.ready() if g not in leased), key=lambda group: self._ended.get(group, 0.0))
        held = [group for group in free if self._bases.held(group) in waiting]
        return next(iter(held or free), None)

    def _fresh_enough(self, group: int, trial: Trial | None) -> bool:
        """Tell whether a group may run a trial now; the processes of one that may not are started anew."""
        if trial is None or not self._solo or trial.phase != "report" or group not in self._used:
            return trial is not None
        self._renew(group)
        return False

    def _renew(self, group: int) -> None:
        self._used.discard(group)
        self._start(group)

    def _grow(self) -> None:
        if self._solo or time.monotonic() < self._growth_due:
            return
        self._growth_due = time.monotonic() + GROWTH_SECONDS
        wanted = min(self._room(), len(self.fleet) + sum(self.course.waiting().values()))
        for group in range(len(self.fleet), wanted):
            self._renew(group)

    def _stop_without_hope(self) -> None:
        if not self._leases and (problem := self.fleet.hopeless()) is not None:
            self.course.stop(str(problem))

    def _note_pause(self, trial_id: str, group: int, result: dict[str, Any]) -> None:
        if "ended" not in result:
            return
        if group in self._ended:
            self.pauses[trial_id] = result["began"] - max(self._ended[group], self.course.available_since(trial_id))
        self._ended[group] = result["ended"]

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its searcher into a snapshot that is never read.
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: what is done is decided by Outcomes only."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""
