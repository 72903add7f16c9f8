"""The course of a halved sweep, from the files alone: who goes on, who ends, and what a kill, a failure or a repetition change."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.exploration import Enumeration
from orchestrator.halving import Ladder
from orchestrator.sweep.climb import Climb
from orchestrator.sweep.course import Course, Observer
from search_spaces.halving import HalvingSection
from search_spaces.trial import Trial
from tests.orchestrator.sweep.stand_ins import Running, Silent
from trainers.outcomes import OutcomeStore
from trainers.results import RUNGS, Outcome, Usage, rung_metric
from trainers.storage import Storage

Trials = Callable[..., Trial]
Outcomes = Callable[..., Outcome]
SECTION = HalvingSection(reduction=3, min_steps=2)
LENGTH = 18


class Sweep:
    """A sweep of nine points and two seeds, whose trials score what a table says; it can be killed at any time."""

    def __init__(self, folder: Path, trial_of: Trials, outcome_of: Outcomes) -> None:
        self.folder, self.outcome_of = folder, outcome_of
        self.store = OutcomeStore(folder / "outcomes")
        self.failing: dict[int, tuple[str, int]] = {}
        """Point -> status and step of the failure of its first seed."""
        self.handed_out: list[tuple[int, int, int | None]] = []
        self.trials = tuple(self._trial(trial_of, number, seed) for number in range(9) for seed in (100, 101))
        self.number = {trial.id: number // 2 for number, trial in enumerate(self.trials)}

    def _trial(self, trial_of: Trials, number: int, seed: int) -> Trial:
        base = trial_of()
        rate = 10.0 ** (number - 9)
        training = base.training.model_copy(
            update={"learning_rate": rate, "steps": LENGTH, "checkpoint": base.training.checkpoint.model_copy(update={"evaluations": 9})}
        )
        return base.model_copy(update={"training": training, "point": {"learning_rate": rate}, "seed": seed, "bracket": "b"})

    def course(self, observer: Observer | None = None, **changes: Any) -> Course:
        climb = Climb(Ladder(self.trials, SECTION, {"squad": "f1"}), Storage.at(self.folder))
        return Course(self.store, Enumeration(self.trials), (), lambda outcomes: (), observer or Silent(), climb=climb, **changes)

    def score(self, trial: Trial, step: int) -> float:
        # The best point at the second rung is not the one at the first.
        first = [0.1, 0.2, 0.8, 0.3, 0.9, 0.7, 0.1, 0.0, 0.2]
        later = [0.1, 0.2, 0.5, 0.3, 0.6, 0.9, 0.1, 0.0, 0.2]
        return (first if step < 6 else later)[self.number[trial.id]]

    def work(self, course: Course, trial: Trial) -> None:
        """Do what a worker does with a hand-out."""
        until, number = course.until(trial.id), self.number[trial.id]
        self.handed_out.append((number, trial.seed, until))
        status, reached = "finished" if until is None else "pruned", until or LENGTH
        if number in self.failing and trial.seed == 100 and self.failing[number][1] <= reached:
            status, reached = self.failing[number][0], self.failing[number][1] - 1
        metrics = {"selection/f1": self.score(trial, reached), "selection/loss": 1.0}
        for rung in course.rungs(trial.id):
            if rung <= reached:
                metrics |= {rung_metric(rung, "f1"): self.score(trial, rung), rung_metric(rung, "loss"): 1 - self.score(trial, rung)}
        outcome = self.outcome_of(trial, status=status, metrics=metrics, curves={}, usage=Usage(steps=reached))
        store = OutcomeStore(self.folder / RUNGS / str(until)) if status == "pruned" else self.store
        store.commit(trial, outcome)

    def run(self, course: Course, most: int = 1000, side_by_side: int = 3) -> None:
        running: list[Trial] = []
        while not course.finished and most:
            while len(running) < side_by_side and (trial := course.next()) is not None:
                running.append(trial)
            assert running, "nothing runs, and nothing can be handed out"
            trial = running.pop()
            self.work(course, trial)
            course.returned(trial.id)
            most -= 1

    def endings(self) -> dict[tuple[int, int], tuple[str, int]]:
        found = [(trial, self.store.read(trial.id)) for trial in self.trials]
        return {(self.number[t.id], t.seed): (o.status, o.usage.steps) for t, o in found if o is not None}


@pytest.fixture
def sweep(tmp_path: Path, trial_of: Trials, outcome_of: Outcomes) -> Sweep:
    return Sweep(tmp_path, trial_of, outcome_of)


def due(full: int, at_second: tuple[int, ...]) -> Mapping[tuple[int, int], tuple[str, int]]:
    ends = dict.fromkeys(range(9), ("pruned", 2)) | dict.fromkeys(at_second, ("pruned", 6)) | {full: ("finished", LENGTH)}
    return {(number, seed): end for number, end in ends.items() for seed in (100, 101)}


def test_points_end_at_the_rungs_where_their_scores_say(sweep: Sweep) -> None:
    course = sweep.course()
    sweep.run(course)
    assert sweep.endings() == due(5, (2, 4)) and course.finished
    steps = [until for _, _, until in sweep.handed_out]
    assert (steps.count(2), steps.count(6), steps.count(None)) == (18, 6, 2)


def test_trials_that_stand_at_a_rung_do_not_run(sweep: Sweep) -> None:
    running = Running()
    course = sweep.course(observer=running)
    sweep.run(course, side_by_side=2)
    assert course.finished and (running.most, running.ids) == (2, set())


def test_a_killed_sweep_goes_on_from_its_files_whenever_it_was_killed(sweep: Sweep) -> None:
    for _ in range(30):
        # Each driver is gone after one returned trial; what it had handed out besides is lost.
        sweep.run(sweep.course(), most=1, side_by_side=2)
    assert sweep.course().finished
    assert sweep.endings() == due(5, (2, 4))
    assert len(sweep.handed_out) == len(set(sweep.handed_out)) == 26


def test_what_was_decided_but_not_recorded_is_recorded_by_the_next_driver(sweep: Sweep) -> None:
    sweep.run(sweep.course())
    lost = [trial for trial in sweep.trials if sweep.number[trial.id] == 0]
    for trial in lost:
        sweep.store.set_aside(trial.id, "lost")
    before = len(sweep.handed_out)
    assert sweep.course().finished and len(sweep.handed_out) == before
    assert sweep.endings() == due(5, (2, 4))


@pytest.mark.parametrize(("step", "full", "second"), [(1, 4, (2, 3)), (4, 4, (2,)), (9, None, (2, 4))])
def test_a_trial_that_fails_leaves_its_rung_with_its_point(sweep: Sweep, step: int, full: int | None, second: tuple[int, ...]) -> None:
    sweep.failing[5] = ("diverged", step)
    course = sweep.course()
    sweep.run(course)
    endings = sweep.endings()
    assert endings[5, 100] == ("diverged", step - 1) and course.finished
    finished = {number for (number, _), (status, _) in endings.items() if status == "finished"}
    assert finished == ({5} if full is None else {full})
    assert {number for (number, _), end in endings.items() if end == ("pruned", 6)} >= set(second)


def test_a_repeated_trial_stands_among_the_others_again(sweep: Sweep) -> None:
    sweep.failing[5] = ("error", 1)
    sweep.run(sweep.course())
    assert sweep.endings()[4, 100] == ("finished", LENGTH)
    sweep.failing.clear()
    course = sweep.course(retry_failed=True)
    sweep.run(course)
    # As if it had never failed: the point that had taken its place ends where it would have ended.
    assert sweep.endings() == due(5, (2, 4))
    assert course.outcomes[next(t.id for t in sweep.trials if sweep.number[t.id] == 3)].status == "pruned"


def test_damaged_files_of_a_rung_are_made_anew(sweep: Sweep) -> None:
    sweep.run(sweep.course(), most=8)
    damaged = next((sweep.folder / RUNGS / "2").glob("[!.]*/outcome.json"))
    damaged.write_text("{}")
    sweep.run(sweep.course())
    assert sweep.endings() == due(5, (2, 4))
