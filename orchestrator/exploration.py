"""How the select phase explores the points of a sweep: which of its trials may run, given the Outcomes so far."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from orchestrator.cells import Cell
from orchestrator.sampling import Point
from orchestrator.selection import Result, point_score
from orchestrator.study import Study
from orchestrator.study_plan import StudyPlan
from search_spaces.trial import Trial
from trainers.results import Outcome


class Exploration(Protocol):
    """Decides which select trials there are; a function of the Outcomes, so that a sweep that was killed goes on where it was."""

    def due(self, outcomes: Mapping[str, Outcome]) -> tuple[Trial, ...]:
        """Return all select trials that may run or have run, given the Outcomes so far, by trial id.

        More Outcomes never take a trial away. The select phase is over when every one of them has an Outcome and no more come.
        """
        ...


@dataclass(frozen=True)
class Enumeration:
    """Every trial at once: the grid."""

    trials: tuple[Trial, ...]

    def due(self, outcomes: Mapping[str, Outcome]) -> tuple[Trial, ...]:
        """Return all trials."""
        return self.trials


class Studies:
    """A study per cell, which is asked for its next batch of points when the last one has its scores.

    A cell whose trial ended in a way that says nothing of its point (an error, memory that ran out) stops there, until that trial is run
    again: a study that went on would have to be told otherwise afterwards, and its later points would be those of no study.

    Args:
        plan: of the studies.
        cells: in the order in which their trials run.
        trials_at: makes the select trials of a cell at a point, one per seed.
        result: reads what a trial's Outcome says of its point.
    """

    def __init__(
        self,
        plan: StudyPlan,
        cells: Iterable[Cell],
        trials_at: Callable[[Cell, Point], Iterable[Trial]],
        result: Callable[[Trial, Outcome], Result],
    ) -> None:
        self._trials_at, self._result = trials_at, result
        self._studies = {cell: Study(plan) for cell in cells}
        self._trials: dict[Cell, list[tuple[Trial, ...]]] = {cell: [] for cell in self._studies}

    def due(self, outcomes: Mapping[str, Outcome]) -> tuple[Trial, ...]:
        """Return the trials of all points that the studies have asked for, cell by cell; Outcomes may only have been added since."""
        for cell, study in self._studies.items():
            study.advance(lambda point, cell=cell: self._score(cell, point, outcomes))  # type: ignore[misc]
        return tuple(trial for cell in self._studies for trials in self._made(cell) for trial in trials)

    def _made(self, cell: Cell) -> list[tuple[Trial, ...]]:
        made = self._trials[cell]
        made += [tuple(self._trials_at(cell, point)) for point in self._studies[cell].points[len(made) :]]
        return made

    def _score(self, cell: Cell, point: Point, outcomes: Mapping[str, Outcome]) -> float | None:
        trials = self._made(cell)[self._studies[cell].points.index(point)]
        results = [self._result(trial, outcomes[trial.id]) for trial in trials if trial.id in outcomes]
        return point_score(results, {trial.seed for trial in trials})
