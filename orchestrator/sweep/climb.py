"""The rungs of a halved sweep on disk: what its trials left there, which of them go on, and what ends the others."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from functools import cache, partial

from orchestrator.halving import Ladder, Verdict
from search_spaces.trial import Trial
from trainers.checkpoint_store import CheckpointStore
from trainers.outcomes import OutcomeStore
from trainers.results import RUNGS, Outcome
from trainers.storage import DamagedError, Storage

log = logging.getLogger(__name__)


class Climb:
    """Knows how far the select trials of a sweep may go, from what they left at the rungs, in this run and in earlier ones.

    Args:
        ladder: decides it.
        folder: of the sweep.
    """

    def __init__(self, ladder: Ladder, folder: Storage) -> None:
        self._ladder, self._folder = ladder, folder
        self._store = cache(self._opened)

    def __contains__(self, trial_id: object) -> bool:
        return trial_id in self._ladder

    def recall(self, trial_ids: Iterable[str]) -> None:
        """Take in what trials left at rungs before this run."""
        wanted = [trial_id for trial_id in trial_ids if trial_id in self._ladder]
        for step in self._ladder.steps if wanted else ():
            for trial_id, outcome in self._store(step).read_each(wanted, partial(self.left_at, step=step)).items():
                if outcome is not None:
                    self.note(trial_id, outcome)

    def note(self, trial_id: str, outcome: Outcome) -> None:
        """Take in what a trial left at a rung, or in the end."""
        if trial_id in self._ladder:
            self._ladder.note(trial_id, outcome)

    def rivals(self, trial_id: str) -> tuple[str, ...]:
        """Return the trials of a trial's cell, itself among them."""
        return self._ladder.rivals(trial_id)

    def rungs(self, trial_id: str) -> tuple[int, ...]:
        """Return the steps at which a trial is compared with others; none for one that is not halved."""
        return tuple(rung.step for rung in self._ladder.rungs(trial_id).rungs) if trial_id in self._ladder else ()

    def until(self, trial_id: str) -> int | None:
        """Return the rung at which a trial pauses when it is handed out now; None where it trains to its end."""
        if trial_id not in self._ladder:
            return None
        step = self._ladder.verdict(trial_id).until
        return step if step < self._ladder.rungs(trial_id).length else None

    def waits(self, trial_id: str) -> bool:
        """Tell whether a trial stands at a rung to which others have yet to come."""
        verdict = self._ladder.verdict(trial_id)
        return verdict.is_open and self._ladder.reached(trial_id) >= verdict.until

    def is_overruled(self, trial_id: str, outcome: Outcome) -> bool:
        """Tell whether a trial ended elsewhere than its rungs say: one that failed was repeated, and stands among the others now."""
        return _overruled(self._ladder.verdict(trial_id), outcome)

    def farewell(self, trial_id: str) -> Outcome | None:
        """Return what a trial that is halved out left at its last rung; None for one that is not, or has to come there again."""
        verdict = self._ladder.verdict(trial_id)
        return self.left_at(trial_id, verdict.until) if verdict.is_out else None

    def left_at(self, trial_id: str, step: int) -> Outcome | None:
        """Return what a trial left at a rung, or None."""
        store = self._store(step)
        try:
            return store.read(trial_id)
        except DamagedError as error:
            log.warning("%s; its files were moved to %s and the trial runs again", error, store.set_aside(trial_id, "damaged"))
            return None

    def forget(self, trial: Trial) -> None:
        """Remove the checkpoints of a trial that goes no further."""
        CheckpointStore(self._folder / "checkpoints" / trial.id).remove()

    def _opened(self, step: int) -> OutcomeStore:
        store = OutcomeStore(self._folder / RUNGS / str(step))
        store.sweep_up()
        return store


def _overruled(verdict: Verdict, outcome: Outcome) -> bool:
    if outcome.status == "pruned":
        goes_on = not verdict.is_out and verdict.until > outcome.usage.steps
        return goes_on or (verdict.is_out and outcome.usage.steps != verdict.until)
    return outcome.status == "finished" and verdict.is_out
