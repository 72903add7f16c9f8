"""The course of a sweep whose selected points lie on the edge of its grid, without Ray."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator.plan import Plan
from orchestrator.sweep.changeover import Changeover
from orchestrator.sweep.course import Course
from search_spaces.trial import Trial
from tests.orchestrator.leaderboard.conftest import SWEEP, Sweep, observed
from tests.orchestrator.sweep.stand_ins import Silent
from trainers.outcomes import OutcomeStore

WIDE = SWEEP.replace("[1.0e-3, 1.0e-2]", "[1.0e-3, 1.0e-2, 1.0e-1]")
Score = Callable[[Trial], float]


def inside(trial: Trial) -> float:
    return {1e-2: 0.9}.get(float(trial.point.get("learning_rate") or 0), 0.1)


def rising(trial: Trial) -> float:
    """`plain` is best at the highest learning rate, the others inside."""
    return float(trial.point.get("learning_rate") or 0) if trial.label == "plain" else inside(trial)


class Runs:
    """Runs a plan from its store, as often as a user does."""

    def __init__(self, folder: Path) -> None:
        self.store = OutcomeStore(folder)

    def run(self, plan: Plan, score: Score, most: int = 1000, **changes: Mapping[str, Any]) -> tuple[Changeover, list[Trial]]:
        """Run up to `most` trials; `changes` are those of the Outcomes, by label."""
        changeover = Changeover(plan, self.store.ids)
        course = Course(self.store, plan.exploration, plan.base_trials, changeover.report_trials, Silent())
        ran: list[Trial] = []
        while not course.finished and len(ran) < most:
            trial = course.next()
            assert trial is not None
            ran.append(trial)
            self.store.commit(trial, observed(trial, score(trial), **changes.get(trial.label, {})))
            course.returned(trial.id)
        return changeover, ran


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "outcomes")


def planned(*changes: tuple[str, str]) -> Plan:
    text = WIDE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return Sweep(text, inside).plan


ACCEPTED = ("seeds:", "search: {accept_edge: true}\nseeds:")


def tuned_reports(ran: list[Trial]) -> set[str]:
    return {trial.label for trial in ran if trial.phase == "report" and trial.label != "base"}


def test_a_sweep_whose_best_points_lie_inside_goes_on(runs: Runs) -> None:
    changeover, ran = runs.run(planned(), inside)
    assert not changeover.stopped_at and tuned_reports(ran) == {"thin", "plain"}


def test_a_point_on_the_edge_stops_the_sweep_before_any_tuned_row_is_reported(runs: Runs) -> None:
    changeover, ran = runs.run(planned(), rising)
    assert {cell.label for cell in changeover.stopped_at} == {"plain"}
    assert {cell.task for cell in changeover.stopped_at} == {"reading", "counting"}
    assert [edge.end for edges in changeover.stopped_at.values() for edge in edges] == ["high", "high"]
    assert tuned_reports(ran) == set()
    assert "base" in {trial.label for trial in ran}, "the untuned model waits for no selection"


def test_a_stopped_sweep_stops_again_and_repeats_nothing(runs: Runs) -> None:
    runs.run(planned(), rising)
    changeover, ran = runs.run(planned(), rising)
    assert changeover.stopped_at and ran == []


def test_an_accepted_edge_is_reported_and_the_sweep_may_be_run_again_without_accepting(runs: Runs) -> None:
    runs.run(planned(), rising)
    changeover, ran = runs.run(planned(ACCEPTED), rising)
    assert not changeover.stopped_at and tuned_reports(ran) == {"thin", "plain"}
    changeover, ran = runs.run(planned(), rising)
    assert not changeover.stopped_at and ran == []


def test_a_cell_whose_report_phase_has_begun_is_no_reason_to_stop(runs: Runs) -> None:
    runs.run(planned(), rising)
    ran: list[Trial] = []
    while not {trial.task for trial in ran if trial.label == "plain"}:
        ran += runs.run(planned(ACCEPTED), rising, most=1)[1]
    changeover, more = runs.run(planned(), rising)
    (begun,) = {trial.task for trial in ran if trial.label == "plain"}
    assert [cell.task for cell in changeover.stopped_at] == [task for task in ("reading", "counting") if task != begun]
    assert more == []


def test_an_extended_grid_takes_over_what_has_run(runs: Runs) -> None:
    _, before = runs.run(planned(), rising)
    wider = planned(("1.0e-1]", "1.0e-1, 1.0]"))
    changeover, ran = runs.run(wider, lambda trial: 0.1 if trial.point.get("learning_rate") == 1.0 else rising(trial))
    assert not changeover.stopped_at and tuned_reports(ran) == {"thin", "plain"}
    assert {trial.id for trial in before}.isdisjoint(trial.id for trial in ran)
    assert {trial.point["learning_rate"] for trial in ran if trial.phase == "select"} == {1.0}


def test_a_cell_whose_select_phase_failed_does_not_stop_the_others(runs: Runs) -> None:
    changeover, ran = runs.run(planned(), rising, plain={"status": "error"})
    assert not changeover.stopped_at and tuned_reports(ran) == {"thin"}
