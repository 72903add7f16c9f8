"""The course of a sweep: which trial runs next. Decided by Outcomes alone; knows nothing of Ray."""

from __future__ import annotations

import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from orchestrator.exploration import Exploration
from orchestrator.sweep.climb import Climb
from search_spaces.trial import ModelRef, Trial
from trainers.outcomes import OutcomeStore
from trainers.results import Outcome, Profile, Status, Usage
from trainers.storage import DamagedError

log = logging.getLogger(__name__)

HAND_OUTS = 3
"""How often a trial that leaves no Outcome is handed out before it is recorded as an error."""

OUT_OF_MEMORY = ("OutOfMemory", "MemoryError", "out of memory", "can't allocate memory")
"""What the reason of a hand-out that failed for lack of memory contains: Ray's, Python's and torch's words for it."""


_NO_USAGE = Usage()


class Observer(Protocol):
    """Is told of the course: the display, the delivery to the tracking store."""

    def planned(self, trials: int, done: int) -> None:
        """The number of trials is known, `done` of them before this run."""

    def started(self, trial: Trial) -> None:
        """A trial was handed out."""

    def paused(self, trial: Trial) -> None:
        """A trial stands at a rung; it may go on, or be settled."""

    def settled(self, trial: Trial, outcome: Outcome) -> None:
        """A trial has an Outcome."""


@dataclass
class Course:
    """Hands out the select trials, then the report trials of the selected points.

    Attributes:
        store: the truth about what is done.
        exploration: says which trials the select phase has, whose Outcomes decide the selection.
        independent: report trials that wait for no selection (the untuned base).
        report_trials: makes the report trials once all select trials have an Outcome; the point between the phases.
        elsewhere: Outcomes that only the tracking store holds, by trial id.
        climb: how far the select trials of a halved sweep may go; None where all go to their end.
    """

    store: OutcomeStore
    exploration: Exploration
    independent: tuple[Trial, ...]
    report_trials: Callable[[Mapping[str, Outcome]], Iterable[Trial]]
    observer: Observer
    retry_failed: bool = False
    elsewhere: Mapping[str, Outcome] = field(default_factory=dict)
    climb: Climb | None = None
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    """Outcomes by trial id, as far as `_lean` keeps them."""
    settled_now: list[str] = field(default_factory=list)
    """Ids of the trials that got their Outcome in this run, in order."""
    skipped: int = 0
    """Trials that had an Outcome before this run."""
    stopped: str | None = None
    """Why nothing more is handed out, when the sweep cannot go on."""
    profile: Profile | None = None
    """What the hand-out that was returned last says of its costs; None where it left nothing."""

    def __post_init__(self) -> None:
        self._waiting: dict[ModelRef, deque[Trial]] = {}
        self._running: dict[str, Trial] = {}
        self._until: dict[str, int | None] = {}
        self._lined_up: set[str] = set()
        self._hand_outs: dict[str, int] = {}
        self._phase_two = False
        self._available: dict[str, float] = {}
        self._planned: dict[str, Trial] = {}
        self._explored = 0
        self._explore()
        self._add(self.independent)
        self._advance()

    @property
    def finished(self) -> bool:
        """Whether every trial has an Outcome, or the sweep was stopped."""
        return self.stopped is not None or (self._phase_two and not self._waiting and not self._running)

    def until(self, trial_id: str) -> int | None:
        """Return the step at which a trial that was handed out pauses; None where it goes to its end."""
        return self._until[trial_id]

    def goal(self, trial_id: str) -> int | None:
        """Return the step at which a trial would pause if it were handed out now; None where it would go to its end."""
        return self.climb.until(trial_id) if self.climb else None

    def rungs(self, trial_id: str) -> tuple[int, ...]:
        """Return the steps at which a trial is compared with others."""
        return self.climb.rungs(trial_id) if self.climb else ()

    def is_settled(self, trial_id: str) -> bool:
        """Tell whether a trial has its Outcome."""
        return trial_id in self.outcomes

    def available_since(self, trial_id: str) -> float:
        """Return the Unix time since which a trial could be handed out."""
        return self._available[trial_id]

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials planned so far, in order."""
        return tuple(self._planned.values())

    def waiting(self) -> dict[ModelRef, int]:
        """Return the number of waiting trials of each base model that has any."""
        return {} if self.stopped is not None else {model: len(trials) for model, trials in self._waiting.items()}

    def upcoming(self, model: ModelRef | None = None) -> Trial | None:
        """Return the trial that `next` would hand out."""
        if self.stopped is not None or not self._waiting:
            return None
        trials = next(iter(self._waiting.values())) if model is None else self._waiting.get(model)
        return trials[0] if trials else None

    def next(self, model: ModelRef | None = None) -> Trial | None:
        """Hand out a trial, or None when none can be handed out now.

        Args:
            model: base model that the trial is to have; None takes any.
        """
        trial = self.upcoming(model)
        if trial is not None:
            self.take(trial)
            self.begun(trial.id)
        return trial

    def queued(self, model: ModelRef) -> Iterable[Trial]:
        """Return the waiting trials of a base model in the order in which `next` would hand them out."""
        return () if self.stopped is not None else self._waiting.get(model, ())

    def take(self, trial: Trial) -> Trial:
        """Hand out a waiting trial, whichever place it has in the queue."""
        self._waiting[trial.model].remove(trial)
        if not self._waiting[trial.model]:
            del self._waiting[trial.model]
        self._running[trial.id] = trial
        self._lined_up.discard(trial.id)
        self._until[trial.id] = self.goal(trial.id)
        self._hand_outs[trial.id] = self._hand_outs.get(trial.id, 0) + 1
        return trial

    def begun(self, trial_id: str) -> None:
        """Take note that a trial that was handed out runs: one of a chain waits for those before it."""
        self.observer.started(self._running[trial_id])

    def returned(self, trial_id: str, reason: str = "", *, counted: bool = True) -> None:
        """Take note that a hand-out has ended: look for the Outcome, else hand the trial out again, a bounded number of times.

        Args:
            reason: what is known of a hand-out that left no Outcome.
            counted: whether it reached a worker at all; one that did not may be repeated without end.
        """
        trial = self._running.pop(trial_id)
        outcome = self._read(trial_id)
        self.profile = None if outcome is None else outcome.profile
        if outcome is None and self._paused(trial):
            return
        self._hand_outs[trial_id] -= not counted
        if outcome is None and self._hand_outs[trial_id] < HAND_OUTS:
            log.warning("trial %s left no Outcome (%s); it is handed out again", trial_id, reason)
            self._queue(trial).appendleft(trial)
            self._lined_up.add(trial.id)
            self._available[trial_id] = time.time()
            return
        if outcome is None:
            outcome = self._give_up(trial, reason)
        self._settle(trial, outcome)
        if self.climb is not None and trial_id in self.climb:
            self.climb.note(trial_id, outcome)
            self._reconsider(self.climb.rivals(trial_id))
        self._advance()

    def stop(self, reason: str) -> None:
        """Hand out nothing more."""
        self.stopped = self.stopped or reason

    def _add(self, trials: Iterable[Trial]) -> None:
        new = {trial.id: trial for trial in trials if trial.id not in self._planned}
        found = self.store.read_each(new, self._read)
        for trial in new.values():
            self._planned[trial.id] = trial
            outcome = found.get(trial.id)
            if outcome is not None and self._is_retried(outcome):
                self.store.set_aside(trial.id, outcome.status)
                outcome = None
            outcome = outcome or self._elsewhere(trial.id)
            if outcome is not None:
                self.outcomes[trial.id] = _lean(outcome)
                self.skipped += 1
            elif self.climb is None or trial.id not in self.climb:
                self._line_up(trial)
        self._recall(new)
        self.observer.planned(len(self._planned), len(self.outcomes))

    def _recall(self, trial_ids: Iterable[str]) -> None:
        """Let halved trials that were just planned stand where earlier runs left them, and line up those that may go on from there."""
        halved = [trial_id for trial_id in trial_ids if self.climb is not None and trial_id in self.climb]
        if self.climb is None or not halved:
            return
        self.climb.recall(halved)
        for trial_id in halved:
            if trial_id in self.outcomes:
                self.climb.note(trial_id, self.outcomes[trial_id])
        self._reconsider(halved)

    def _paused(self, trial: Trial) -> bool:
        """Tell whether a hand-out ended at a rung; then let the trials of its cell go on, or end, as far as that decides it."""
        step = self._until[trial.id]
        left = self.climb.left_at(trial.id, step) if self.climb is not None and step is not None else None
        if self.climb is None or left is None:
            return False
        self._hand_outs[trial.id], self.profile = 0, left.profile
        self.observer.paused(trial)
        self.climb.note(trial.id, left)
        self._reconsider(self.climb.rivals(trial.id))
        self._advance()
        return True

    def _reconsider(self, trial_ids: Iterable[str]) -> None:
        """Line up the halved trials that may go on, and settle those that are halved out."""
        assert self.climb is not None
        for trial_id in trial_ids:
            trial, outcome = self._planned[trial_id], self.outcomes.get(trial_id)
            if trial_id in self._running or trial_id in self._lined_up:
                continue
            if outcome is not None and self.climb.is_overruled(trial_id, outcome):
                self._reopen(trial_id, outcome)
            elif outcome is not None:
                continue
            if (left := self.climb.farewell(trial_id)) is not None:
                self.store.commit(trial, left)
                self.climb.forget(trial)
                self._settle(trial, left)
            elif not self.climb.waits(trial_id):
                self._line_up(trial)

    def _reopen(self, trial_id: str, outcome: Outcome) -> None:
        """Take back how a halved trial ended: a trial of its cell that had failed is back, and the rungs were decided anew."""
        if self.store.digest(trial_id) is not None:
            self.store.set_aside(trial_id, outcome.status)
        del self.outcomes[trial_id]
        self.skipped -= 1

    def _line_up(self, trial: Trial) -> None:
        self._queue(trial).append(trial)
        self._lined_up.add(trial.id)
        self._available[trial.id] = time.time()

    def _queue(self, trial: Trial) -> deque[Trial]:
        return self._waiting.setdefault(trial.model, deque())

    def _advance(self) -> None:
        """Look for more select trials; begin the report phase when all have an Outcome and no more come."""
        if not self._phase_two and self._explore():
            self._phase_two = True
            self._add(self.report_trials(self.outcomes))

    def _explore(self) -> bool:
        """Add the select trials that have become due; tell whether all have an Outcome and no more come."""
        due = self.exploration.due(self.outcomes)
        while len(due) > self._explored:
            self._explored = len(due)
            self._add(due)
            # Outcomes of an earlier run may make more trials due at once.
            due = self.exploration.due(self.outcomes)
        return all(trial.id in self.outcomes for trial in due)

    def _elsewhere(self, trial_id: str) -> Outcome | None:
        outcome = self.elsewhere.get(trial_id)
        return None if outcome is None or self._is_retried(outcome) else outcome

    def _is_retried(self, outcome: Outcome) -> bool:
        return self.retry_failed and outcome.status not in ("finished", "pruned")

    def _read(self, trial_id: str) -> Outcome | None:
        try:
            return self.store.read(trial_id)
        except DamagedError as error:
            kept = self.store.set_aside(trial_id, "damaged")
            log.warning("%s; its files were moved to %s and the trial runs again", error, kept)
            return None

    def _settle(self, trial: Trial, outcome: Outcome) -> None:
        self.outcomes[trial.id] = _lean(outcome)
        self.settled_now.append(trial.id)
        self.observer.settled(trial, outcome)

    def _give_up(self, trial: Trial, reason: str) -> Outcome:
        status: Status = "out_of_memory" if any(sign in reason for sign in OUT_OF_MEMORY) else "error"
        now = time.time()
        text = f"left no Outcome in {HAND_OUTS} attempts; the last one: {reason or 'no reason known'}"
        outcome = Outcome(trial_id=trial.id, attempt=uuid.uuid4().hex[:8], status=status, started=now, ended=now, error=text)
        self.store.commit(trial, outcome)
        return self.store.read(trial.id) or outcome


def _lean(outcome: Outcome) -> Outcome:
    """Return what decides the course and is shown at its end: the rest, of thousands of trials, would fill the driver's memory."""
    usage = Usage(steps=outcome.usage.steps) if outcome.status == "pruned" else _NO_USAGE
    return outcome.model_copy(update={"curves": {}, "environment": {}, "data_digests": {}, "usage": usage})
