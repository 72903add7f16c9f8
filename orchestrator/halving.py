"""Successive halving within a cell: how far each of its select trials may go, from what is known of all of them. Nothing runs here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.cells import Cell, cell_of
from orchestrator.selection import FrozenPoint, Result, best_points, frozen
from search_spaces.halving import HalvingSection, rung_steps
from search_spaces.trial import Training, Trial, digest
from trainers.results import Outcome, Status, rung_metric

SURVIVORS_RULE = "the best of the points by their selection score at the rung, mean over the select seeds; ties as in the selection"


@dataclass(frozen=True)
class Rung:
    """A step at which points are given up.

    Attributes:
        step: optimiser steps.
        points: that come so far, if none fails.
        survivors: of them that go on, at most.
    """

    step: int
    points: int
    survivors: int


@dataclass(frozen=True)
class Rungs:
    """The rungs of a cell, which follow from the sweep file alone: the same for every method.

    Attributes:
        rungs: below the full length, ascending; one at which nothing is given up is left out.
        length: steps of a trial that is never given up.
        points: of the grid.
    """

    rungs: tuple[Rung, ...]
    length: int
    points: int

    @classmethod
    def of(cls, section: HalvingSection, training: Training, points: int) -> Rungs:
        """Return the rungs of a cell whose trials train as given, in steps."""
        assert training.steps is not None
        found, left = [], points
        for step in rung_steps(section, training.steps, training.checkpoint.evaluations):
            survivors = max(1, left // section.reduction)
            if survivors < left:
                found.append(Rung(step, left, survivors))
            left = survivors
        return cls(tuple(found), training.steps, points)

    @property
    def steps(self) -> int:
        """Steps of all points together on one seed, if none fails."""
        ends = [*((rung.step, rung.points - rung.survivors) for rung in self.rungs), (self.length, self.survivors)]
        return sum(step * count for step, count in ends)

    @property
    def full_steps(self) -> int:
        """Steps of all points together on one seed without halving."""
        return self.length * self.points

    @property
    def survivors(self) -> int:
        """Points that go to the full length, if none fails."""
        return self.rungs[-1].survivors if self.rungs else self.points

    def to_json(self) -> dict[str, Any]:
        """Return the rungs as the plan shows them."""
        rungs = [{"step": rung.step, "points": rung.points, "survivors": rung.survivors} for rung in self.rungs]
        return {"rungs": rungs, "length": self.length, "points": self.points, "steps": self.steps, "full_steps": self.full_steps}


def bracket_of(section: HalvingSection | None, points: Sequence[Mapping[str, Any]], seeds: Sequence[int]) -> str:
    """Return the digest of all that a cell's trials compete under; empty where they do not."""
    if section is None:
        return ""
    return digest({"halving": section.model_dump(), "points": [dict(point) for point in points], "seeds": list(seeds)})[:16]


@dataclass(frozen=True)
class Standing:
    """What is known of one select trial.

    Attributes:
        scores: main metric and loss on the selection split by rung, of those that it has come to.
        ended: how it ended, if for another reason than being given up.
    """

    point: FrozenPoint
    seed: int
    scores: Mapping[int, tuple[float, float]]
    ended: Status | None = None

    def at(self, step: int) -> Result | None:
        """Return what the trial says of its point at a rung; None where that is not known yet."""
        if step in self.scores:
            score, loss = self.scores[step]
            return Result(dict(self.point), self.seed, "finished", score, loss)
        return None if self.ended is None else Result(dict(self.point), self.seed, self.ended, None)


def standing_of(trial: Trial, status: Status, metrics: Mapping[str, float], rungs: Rungs, main: str) -> Standing:
    """Return what an Outcome says of a trial at the rungs: one that the trial left at a rung, or its last one.

    Args:
        status: of the Outcome.
        metrics: of the Outcome.
        rungs: of the trial's cell.
        main: metric that selects.
    """
    scores: dict[int, tuple[float, float]] = {}
    for rung in rungs.rungs:
        score, loss = (metrics.get(rung_metric(rung.step, name)) for name in (main, "loss"))
        if score is not None and loss is not None:
            scores[rung.step] = score, loss
    return Standing(frozen(trial.point), trial.seed, scores, None if status == "pruned" else status)


@dataclass(frozen=True)
class Verdict:
    """How far a trial goes.

    Attributes:
        until: step up to which it may train; the last of its steps where nothing keeps it from that.
        is_out: whether it ends there, halved out.
        is_open: whether others of its cell have yet to come to that step before it can be told how it goes on.
    """

    until: int
    is_out: bool = False
    is_open: bool = False


def verdicts(rungs: Rungs, standings: Mapping[str, Standing]) -> dict[str, Verdict]:
    """Return how far each trial of a cell goes: those that a rung gives up, and the others up to the next rung that is open.

    A point whose trial failed on the way to a rung leaves there with all its seeds, and nothing takes its place among the survivors
    but points that are there.

    Args:
        rungs: of the cell.
        standings: of all its trials, by id, in the order of the grid.
    """
    found: dict[str, Verdict] = {}
    alive = dict(standings)
    for rung in rungs.rungs:
        results = {trial_id: standing.at(rung.step) for trial_id, standing in alive.items()}
        known = [result for result in results.values() if result is not None]
        if len(known) < len(results):
            return found | {trial_id: Verdict(rung.step, is_open=True) for trial_id in alive}
        stay = set(best_points(known, rung.survivors))
        found |= {trial_id: Verdict(rung.step, is_out=True) for trial_id, standing in alive.items() if standing.point not in stay}
        alive = {trial_id: standing for trial_id, standing in alive.items() if standing.point in stay}
    return found | {trial_id: Verdict(rungs.length) for trial_id in alive}


class Ladder:
    """Keeps what is known of the select trials of a sweep, cell by cell, and tells how far each may go.

    Args:
        trials: the select trials, in the order of the plan.
        section: of the sweep file.
        mains: the metric that selects, by task.
    """

    def __init__(self, trials: Iterable[Trial], section: HalvingSection, mains: Mapping[str, str]) -> None:
        self._trials = {trial.id: trial for trial in trials}
        self._mains = mains
        self._cells: dict[Cell, dict[str, Standing]] = {}
        self._rungs: dict[Cell, Rungs] = {}
        self._verdicts: dict[Cell, dict[str, Verdict]] = {}
        by_cell: dict[Cell, list[Trial]] = {}
        for trial in self._trials.values():
            by_cell.setdefault(cell_of(trial), []).append(trial)
        for cell, some in by_cell.items():
            rungs = Rungs.of(section, some[0].training, len({frozen(trial.point) for trial in some}))
            self._rungs[cell] = rungs
            self._cells[cell] = {trial.id: Standing(frozen(trial.point), trial.seed, {}) for trial in some}

    def __contains__(self, trial_id: object) -> bool:
        return trial_id in self._trials

    @property
    def steps(self) -> tuple[int, ...]:
        """The steps of all rungs, ascending."""
        return tuple(sorted({rung.step for rungs in self._rungs.values() for rung in rungs.rungs}))

    def rungs(self, trial_id: str) -> Rungs:
        """Return the rungs of a trial's cell."""
        return self._rungs[cell_of(self._trials[trial_id])]

    def rivals(self, trial_id: str) -> tuple[str, ...]:
        """Return the trials of a trial's cell, itself among them, in the order of the grid."""
        return tuple(self._cells[cell_of(self._trials[trial_id])])

    def note(self, trial_id: str, outcome: Outcome) -> None:
        """Take in what a trial left at a rung or in the end; of several Outcomes the one that knows more rungs stays."""
        trial = self._trials[trial_id]
        cell = cell_of(trial)
        new = standing_of(trial, outcome.status, outcome.metrics, self._rungs[cell], self._mains[trial.task])
        old = self._cells[cell][trial_id]
        scores = {**old.scores, **new.scores}
        self._cells[cell][trial_id] = Standing(new.point, new.seed, scores, new.ended or old.ended)
        self._verdicts.pop(cell, None)

    def reached(self, trial_id: str) -> int:
        """Return the last rung that a trial has come to; 0 before the first one."""
        return max(self._cells[cell_of(self._trials[trial_id])][trial_id].scores, default=0)

    def verdict(self, trial_id: str) -> Verdict:
        """Return how far a trial goes, given all that was noted."""
        cell = cell_of(self._trials[trial_id])
        if cell not in self._verdicts:
            self._verdicts[cell] = verdicts(self._rungs[cell], self._cells[cell])
        return self._verdicts[cell][trial_id]
