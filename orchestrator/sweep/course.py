"""The course of a sweep: which trial runs next. Decided by Outcomes alone; knows nothing of Ray."""

from __future__ import annotations

import logging
import time
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol

from search_spaces.trial import ModelRef, Trial
from trainers.outcomes import OutcomeStore
from trainers.results import Outcome, Status, Usage
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

    def settled(self, trial: Trial, outcome: Outcome) -> None:
        """A trial has an Outcome."""


@dataclass
class Course:
    """Hands out the select trials, then the report trials of the selected points.

    Attributes:
        store: the truth about what is done.
        select: trials whose Outcomes decide the selection.
        independent: report trials that wait for no selection (the untuned base).
        report_trials: makes the report trials once all of `select` have an Outcome; the point between the phases.
        elsewhere: Outcomes that only the tracking store holds, by trial id.
    """

    store: OutcomeStore
    select: tuple[Trial, ...]
    independent: tuple[Trial, ...]
    report_trials: Callable[[Mapping[str, Outcome]], Iterable[Trial]]
    observer: Observer
    retry_failed: bool = False
    elsewhere: Mapping[str, Outcome] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    """Outcomes by trial id, as far as `_lean` keeps them."""
    settled_now: list[str] = field(default_factory=list)
    """Ids of the trials that got their Outcome in this run, in order."""
    skipped: int = 0
    """Trials that had an Outcome before this run."""
    stopped: str | None = None
    """Why nothing more is handed out, when the sweep cannot go on."""

    def __post_init__(self) -> None:
        self._waiting: dict[ModelRef, deque[Trial]] = {}
        self._running: dict[str, Trial] = {}
        self._hand_outs: dict[str, int] = {}
        self._phase_two = False
        self._available: dict[str, float] = {}
        self._planned: dict[str, Trial] = {}
        self._add(self.select)
        self._add(self.independent)
        self._advance()

    @property
    def finished(self) -> bool:
        """Whether every trial has an Outcome, or the sweep was stopped."""
        return self.stopped is not None or (self._phase_two and not self._waiting and not self._running)

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
        if trial is None:
            return None
        self._waiting[trial.model].popleft()
        if not self._waiting[trial.model]:
            del self._waiting[trial.model]
        self._running[trial.id] = trial
        self._hand_outs[trial.id] = self._hand_outs.get(trial.id, 0) + 1
        self.observer.started(trial)
        return trial

    def returned(self, trial_id: str, reason: str = "", *, counted: bool = True) -> None:
        """Take note that a hand-out has ended: look for the Outcome, else hand the trial out again, a bounded number of times.

        Args:
            reason: what is known of a hand-out that left no Outcome.
            counted: whether it reached a worker at all; one that did not may be repeated without end.
        """
        trial = self._running.pop(trial_id)
        outcome = self._read(trial_id)
        self._hand_outs[trial_id] -= not counted
        if outcome is None and self._hand_outs[trial_id] < HAND_OUTS:
            log.warning("trial %s left no Outcome (%s); it is handed out again", trial_id, reason)
            self._queue(trial).appendleft(trial)
            self._available[trial_id] = time.time()
            return
        if outcome is None:
            outcome = self._give_up(trial, reason)
        self._settle(trial, outcome)
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
            if outcome is not None and self.retry_failed and outcome.status != "finished":
                self.store.set_aside(trial.id, outcome.status)
                outcome = None
            outcome = outcome or self._elsewhere(trial.id)
            if outcome is None:
                self._queue(trial).append(trial)
                self._available[trial.id] = time.time()
            else:
                self.outcomes[trial.id] = _lean(outcome)
                self.skipped += 1
        self.observer.planned(len(self._planned), len(self.outcomes))

    def _queue(self, trial: Trial) -> deque[Trial]:
        return self._waiting.setdefault(trial.model, deque())

    def _advance(self) -> None:
        """Begin the report phase when every select trial has an Outcome."""
        if not self._phase_two and all(trial.id in self.outcomes for trial in self.select):
            self._phase_two = True
            self._add(self.report_trials(self.outcomes))

    def _elsewhere(self, trial_id: str) -> Outcome | None:
        outcome = self.elsewhere.get(trial_id)
        return None if outcome is None or (self.retry_failed and outcome.status != "finished") else outcome

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
    return outcome.model_copy(update={"curves": {}, "environment": {}, "data_digests": {}, "usage": _NO_USAGE})
