"""Studies: the points that a cell is tried at, batch by batch. What a study asks for follows from its plan and the points' scores alone."""

from __future__ import annotations

import math
from collections.abc import Callable

from orchestrator.sampling import Point, Sampling
from orchestrator.study_plan import StudyPlan

Scores = Callable[[Point], float | None]
"""Point -> its score; NaN for one that was trained and has none, None for one that is still open."""
Told = tuple[float | None, ...]
"""Scores in the order of the points; None for one that was trained and has none."""

KNOWN_COURSES = 100_000
"""Batches that are remembered: the same course is asked for by the run, the rules and the board."""

_known: dict[tuple[str, Told], tuple[Point, ...]] = {}
"""A plan, and the scores of all points before a batch -> the batch."""


class Study:
    """The study of one cell: asked for fixed batches of points, told their scores in the order of the points, a whole batch at a time.

    What finishes first, and how often the driver was killed, changes nothing. It is held in memory only.
    """

    def __init__(self, plan: StudyPlan) -> None:
        self.plan = plan
        self.points: list[Point] = []
        """All points asked for so far."""
        self._key = plan.model_dump_json()
        self._told: list[Told] = []
        self._batch: tuple[Point, ...] = ()
        self._sampling: Sampling | None = None
        self._ask()

    @property
    def complete(self) -> bool:
        """Whether no more points come."""
        return len(self.points) >= self.plan.trials

    def advance(self, scores: Scores) -> None:
        """Take note of the scores of every batch that is complete, and ask for the next one."""
        while not self.complete:
            found = [scores(point) for point in self._batch]
            known = [score for score in found if score is not None]
            if len(known) < len(found):
                return
            told = tuple(None if math.isnan(score) else score for score in known)
            self._told.append(told)
            if self._sampling is not None:
                self._sampling.tell(known)
            self._ask()

    def _ask(self) -> None:
        key = self._key, tuple(score for told in self._told for score in told)
        if self._sampling is not None or key not in _known:
            if len(_known) >= KNOWN_COURSES:
                _known.clear()
            _known[key] = self._asked()
        self._batch = _known[key]
        self.points += self._batch

    def _asked(self) -> tuple[Point, ...]:
        """Ask for the batch; where the earlier ones were remembered, they are asked for and told again first."""
        if self._sampling is None:
            self._sampling = Sampling(self.plan)
            for number, told in enumerate(self._told):
                self._sampling.ask(self._size(number))
                self._sampling.tell(math.nan if score is None else score for score in told)
        return self._sampling.ask(self._size(len(self._told)))

    def _size(self, batch: int) -> int:
        """Return the number of points of a batch."""
        if batch == 0:
            return self.plan.startup
        return min(self.plan.batch, self.plan.trials - self.plan.startup - (batch - 1) * self.plan.batch)


def asked(plan: StudyPlan, scores: Scores) -> tuple[Point, ...]:
    """Return all points that a study asks for, given the scores that are known."""
    study = Study(plan)
    study.advance(scores)
    return tuple(study.points)


def start_points(plan: StudyPlan) -> tuple[Point, ...]:
    """Return the points that every study asks for before it is told any score."""
    return asked(plan, lambda point: None)
