"""The trials of a search, found again from the runs alone: every cell's study is repeated with the scores that MLflow holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from orchestrator.cells import Cell
from orchestrator.plan_document import PlanDocument, PlannedTrial
from orchestrator.sampling import Point
from orchestrator.selection import FrozenPoint, Result, frozen, point_score
from orchestrator.study import Study
from orchestrator.study_plan import StudyPlan
from search_spaces.trial import Trial

Observed = Callable[[PlannedTrial], Result | None]
"""Planned trial -> what its run says of its point; None without a run that counts."""


@dataclass(frozen=True)
class Replay:
    """The course of one cell's study.

    Attributes:
        trials: of all points that it asked for, given the scores that are known.
        open_points: number of points that it has still to ask for.
    """

    trials: tuple[PlannedTrial, ...]
    open_points: int


def replay(plan: PlanDocument, study: StudyPlan, observed: Observed, trial_of: Callable[[str], Trial | None]) -> dict[Cell, Replay]:
    """Return the course of every cell's study.

    Args:
        plan: lists the trials at the points that every study begins with.
        study: how the studies run.
        observed: tells what ran.
        trial_of: returns the trial of a run by its id; what a cell's later trials are made of, which no plan lists.
    """
    started: dict[Cell, list[PlannedTrial]] = {planned.cell: [] for planned in plan.cells}
    for planned in plan.select:
        started.setdefault(planned.cell, []).append(planned)
    return {cell: _Cell(study, listed, observed, trial_of).replay() for cell, listed in started.items()}


class _Cell:
    """One cell, while its study is repeated."""

    def __init__(
        self, study: StudyPlan, listed: Iterable[PlannedTrial], observed: Observed, trial_of: Callable[[str], Trial | None]
    ) -> None:
        self._plan, self._observed = study, observed
        self._listed = list(listed)
        self._at: dict[FrozenPoint, list[PlannedTrial]] = {}
        for planned in self._listed:
            self._at.setdefault(frozen(planned.point), []).append(planned)
        self._model = next(((planned, trial) for planned in self._listed if (trial := trial_of(planned.id))), None)

    def replay(self) -> Replay:
        study = Study(self._plan)
        study.advance(self._score)
        points = {frozen(point): point for point in study.points}
        return Replay(
            trials=tuple(planned for point in points.values() for planned in self._trials(point)),
            open_points=self._plan.trials - len(study.points),
        )

    def _score(self, point: Point) -> float | None:
        found = [result for planned in self._trials(point) if (result := self._observed(planned))]
        return point_score(found, set(self._plan.select_seeds))

    def _trials(self, point: Point) -> list[PlannedTrial]:
        if frozen(point) not in self._at:
            self._at[frozen(point)] = [self._moved(point, seed) for seed in self._plan.select_seeds] if self._model else []
        return self._at[frozen(point)]

    def _moved(self, point: Point, seed: int) -> PlannedTrial:
        """Return a trial of the cell at another point."""
        assert self._model is not None
        planned, trial = self._model
        training = trial.training.model_copy(update=point)
        moved = trial.model_copy(update={"training": training, "point": point, "seed": seed})
        return planned.model_copy(update={"id": moved.id, "point": point, "seed": seed})


def open_points(replays: Mapping[Cell, Replay]) -> dict[Cell, int]:
    """Return the number of points that the studies have still to ask for, of the cells that have any."""
    return {cell: found.open_points for cell, found in replays.items() if found.open_points}
