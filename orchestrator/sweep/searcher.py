"""The Searcher that gives Ray Tune the trials of a course, each with a free member of the fleet."""

from __future__ import annotations

from typing import Any

from ray.tune.search import Searcher

from orchestrator.sweep.course import Course
from search_spaces.errors import StorageError


class CourseSearcher(Searcher):  # type: ignore[misc]  # Ray ships no types
    """Suggests the next trial of a course while a member of the fleet is free."""

    def __init__(self, course: Course, members: int) -> None:
        super().__init__(metric="settled", mode="max")
        self.course = course
        self._free = list(range(members))
        self._leases: dict[str, tuple[str, int]] = {}
        self._ended: dict[int, float] = {}
        self.pauses: dict[str, float] = {}
        """Seconds that a trial's member stood idle before it, though the trial could have been handed out; by trial id."""

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """Return the configuration of a Tune trial, `FINISHED` at the end, or None while there is nothing to hand out."""
        if self.course.finished:
            return str(Searcher.FINISHED)
        if not self._free:
            return None
        trial = self.course.next()
        if trial is None:
            return None
        self._leases[trial_id] = (trial.id, self._free.pop(0))
        return {"trial": trial.model_dump_json(), "member": self._leases[trial_id][1]}

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Free the member and let the course look for the Outcome."""
        if trial_id not in self._leases:
            return
        fairsweep_id, member = self._leases.pop(trial_id)
        self._free.append(member)
        result = result or {}
        self._note_pause(fairsweep_id, member, result)
        if result.get("fatal"):
            self.course.stop(str(result["fatal"]))
        try:
            self.course.returned(fairsweep_id, str(result.get("reason") or ("the proxy of the trial failed" if error else "")))
        except (StorageError, OSError) as problem:
            # Raised from here it would reach the user as Tune's stack trace.
            self.course.stop(str(problem))

    def _note_pause(self, trial_id: str, member: int, result: dict[str, Any]) -> None:
        if "ended" not in result:
            return
        if member in self._ended:
            self.pauses[trial_id] = result["began"] - max(self._ended[member], self.course.available_since(trial_id))
        self._ended[member] = result["ended"]

    def __getstate__(self) -> dict[str, Any]:
        # Tune pickles its searcher into a snapshot that is never read.
        return {}

    def save(self, checkpoint_path: str) -> None:
        """Save nothing: what is done is decided by Outcomes only."""

    def restore(self, checkpoint_path: str) -> None:
        """Restore nothing."""
