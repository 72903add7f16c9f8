"""Grids, tuning-budget curves and sensitivities."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.leaderboard.analysis import Grid
from orchestrator.leaderboard.views.grids import grids_of, untuned_selection
from orchestrator.leaderboard.views.tuning import expected_bests, sensitivities, undecided

WIDER = "grid: {learning_rate: [1.0e-2, 1.0e-4, 1.0e-3], scale: [1.0, 2.0]}"


@pytest.fixture
def wide(sweep_of: Any, sweep_text: str) -> Any:
    """Six points; a selection score of 0.1 to 0.3 by the learning rate, and 0.01 more for the larger scale."""

    def score(trial: Any) -> float:
        if trial.method.name == "base":
            return 0.2
        return {0.0001: 0.1, 0.001: 0.2, 0.01: 0.3}[trial.point["learning_rate"]] + 0.01 * (trial.point["scale"] or 0)

    sweep = sweep_of(sweep_text.replace("grid: {learning_rate: [1.0e-3, 1.0e-2]}", WIDER), score)
    for trial in sweep.find("report", "base"):
        sweep.outcomes[trial.id].metrics["selection/f1"] = 0.05
    return sweep


def grid(sweep: Any, label: str = "plain") -> Grid:
    (found,) = [g for g in grids_of(sweep.recorded()) if g.row == label and g.task == "reading"]
    return found


def test_a_grid_has_its_points_with_their_runs(wide: Any) -> None:
    found = grid(wide)
    assert found.axes == {"learning_rate": (0.0001, 0.001, 0.01), "scale": (1.0, 2.0)}
    assert [(p.point["learning_rate"], p.point["scale"]) for p in found.points][:3] == [(0.01, 1.0), (0.01, 2.0), (0.0001, 1.0)]
    assert found.points[0].score == pytest.approx(0.31)
    assert found.points[0].loss == 1.0
    assert (found.points[0].statuses, len(found.points[0].runs)) == (("finished",), 1)
    assert found.selected == {"learning_rate": 0.01, "scale": 2.0}


def test_only_ordered_axes_of_three_values_have_an_edge(wide: Any) -> None:
    assert grid(wide).edges == ("learning_rate",)
    for trial in wide.find("select", "plain", learning_rate=0.001):
        wide.outcomes[trial.id].metrics["selection/f1"] = 0.9
    assert grid(wide).edges == ()


def test_a_point_with_a_failed_seed_has_no_score(sweep_of: Any, sweep_text: str) -> None:
    sweep = sweep_of(sweep_text.replace("select: [100]", "select: [100, 101]"))
    sweep.change(sweep.find("select", "plain", learning_rate=0.01, seed=101), status="diverged")
    del sweep.outcomes[sweep.find("select", "plain", learning_rate=0.001, seed=100)[0].id]
    slow, fast = grid(sweep).points
    assert (fast.score, fast.statuses, len(fast.runs)) == (None, ("finished", "diverged"), 2)
    assert (slow.score, slow.statuses, len(slow.runs)) == (None, ("missing", "finished"), 1)


def test_nan_is_no_score(sweep: Any) -> None:
    (trial,) = sweep.find("select", "plain", learning_rate=0.01)
    sweep.outcomes[trial.id].metrics["selection/f1"] = float("nan")
    assert [point.score for point in grid(sweep).points] == [0.01, None]


def test_the_expected_best_of_all_points_is_the_best(wide: Any) -> None:
    recorded = wide.recorded()
    found = expected_bests(grids_of(recorded), untuned_selection(recorded))
    (plain,) = [curve for curve in found if (curve.row, curve.task) == ("plain", "reading")]
    scores = [0.31, 0.32, 0.11, 0.12, 0.21, 0.22]
    assert len(plain.scores) == 6
    assert plain.scores[0] == pytest.approx(sum(scores) / 6)
    assert plain.scores[-1] == pytest.approx(0.32)
    assert plain.untuned == 0.05


def test_a_failed_point_scores_as_the_untuned_model(wide: Any) -> None:
    wide.change(wide.find("select", "plain", learning_rate=0.01), status="diverged")
    recorded = wide.recorded()
    found = expected_bests(grids_of(recorded), untuned_selection(recorded))
    (plain,) = [curve for curve in found if (curve.row, curve.task) == ("plain", "reading")]
    assert plain.scores[0] == pytest.approx((0.05 + 0.05 + 0.11 + 0.12 + 0.21 + 0.22) / 6)


def test_an_unfinished_grid_has_no_curve_and_that_is_told(wide: Any) -> None:
    del wide.outcomes[wide.find("select", "plain", learning_rate=0.01)[0].id]
    wide.change(wide.find("select", "thin", rank=2, learning_rate=0.01), status="error")
    for trial in wide.find("report", "base"):
        del wide.outcomes[trial.id].metrics["selection/f1"]
    recorded = wide.recorded()
    grids, untuned = grids_of(recorded), untuned_selection(recorded)
    assert {curve.row for curve in expected_bests(grids, untuned) if curve.task == "reading"} == {"thin (rank=4)"}
    notes = undecided(grids, untuned)
    assert any("have not run to the end: plain on reading with tiny" in note for note in notes)
    assert any("has no selection score: thin (rank=2) on reading with tiny" in note for note in notes)


def test_sensitivity_tells_which_axis_matters(wide: Any) -> None:
    recorded = wide.recorded()
    (plain,) = [s for s in sensitivities(grids_of(recorded), untuned_selection(recorded)) if (s.row, s.task) == ("plain", "reading")]
    assert set(plain.shares) == {"learning_rate", "scale"}
    assert plain.shares["learning_rate"] > 0.99
    assert plain.shares["scale"] == pytest.approx(1 - plain.shares["learning_rate"])
    assert plain.spread == pytest.approx((0.1**2 * 2 / 3 + 0.005**2) ** 0.5)
