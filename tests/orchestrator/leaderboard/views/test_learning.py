"""How the rows trained."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest

from orchestrator.leaderboard.analysis import Learning
from orchestrator.leaderboard.board import board_of
from tests.orchestrator.leaderboard.kept import Kept


def curves(loss: float, scores: list[float]) -> dict[str, list[tuple[int, float]]]:
    steps = 10 * len(scores)
    return {
        "train/loss": [(step, loss * steps / step) for step in range(1, steps + 1)],
        "selection/f1": [(10 * number, score) for number, score in enumerate(scores, start=1)],
    }


def learning(sweep: Any, kept: Kept, name: str) -> Learning:
    (found,) = [entry for entry in board_of(sweep.recorded(), kept).analysis.learning if (entry.row, entry.task) == (name, "reading")]
    return found


@pytest.fixture
def kept(sweep: Any) -> Kept:
    """`plain` reaches 0.6 at step 30; rank 2 of `thin` reaches at most 0.4, at step 10; rank 4 reaches 0.9, passing 0.4 at step 20."""
    found = Kept(sweep)
    for label, rank, scores in (
        ("plain", {}, [0.2, 0.3, 0.6]),
        ("thin", {"rank": 2}, [0.4, 0.3, 0.2]),
        ("thin", {"rank": 4}, [0.3, 0.5, 0.9]),
    ):
        for seed, trial in enumerate(sweep.find("report", label, **rank)):
            found.kept_curves[f"run-{trial.id}"] = curves(1.0 + seed, scores)
    return found


def test_training_loss_and_steps_to_the_score_that_all_rows_reach(sweep: Any, kept: Kept) -> None:
    plain, thin, thick = (learning(sweep, kept, name) for name in ("plain", "thin (rank=2)", "thin (rank=4)"))
    assert {plain.target, thin.target, thick.target} == {0.4}
    assert [entry.steps_to_target for entry in (plain, thin, thick)] == [30, 10, 20]
    assert plain.train_loss == pytest.approx(2.0)
    assert (plain.curve[0][0], plain.curve[-1][0]) == (1, 30)
    assert plain.curve[-1][1] == pytest.approx(2.0)


def test_the_score_is_one_that_every_seed_reaches(sweep: Any, kept: Kept) -> None:
    (trial,) = sweep.find("report", "thin", rank=2, seed=0)
    kept.kept_curves[f"run-{trial.id}"] = curves(1.0, [0.1, 0.1, 0.2])
    assert learning(sweep, kept, "thin (rank=2)").target == 0.2
    assert learning(sweep, kept, "thin (rank=2)").steps_to_target == pytest.approx((30 + 10 + 10) / 3)
    assert learning(sweep, kept, "plain").steps_to_target == 10


def test_a_diverged_seed_leaves_no_mean_of_the_others(sweep: Any, kept: Kept) -> None:
    sweep.change(sweep.find("report", "plain", seed=1), status="diverged")
    plain = learning(sweep, kept, "plain")
    assert (plain.train_loss, plain.steps_to_target) == (None, None)
    assert plain.curve


def test_one_evaluation_tells_nothing_of_speed(sweep: Any, kept: Kept) -> None:
    for run in kept.kept_curves:
        kept.kept_curves[run] = curves(1.0, [0.5])
    plain = learning(sweep, kept, "plain")
    assert (plain.target, plain.steps_to_target) == (None, None)


def test_long_curves_are_thinned_out_evenly(sweep: Any, kept: Kept) -> None:
    for run in kept.kept_curves:
        kept.kept_curves[run] = curves(1.0, [0.5] * 50)
    steps = [step for step, _ in learning(sweep, kept, "plain").curve]
    assert len(steps) == 100
    assert (steps[0], steps[-1]) == (1, 500)
    assert max(b - a for a, b in pairwise(steps)) <= 6


def test_rows_without_curves_are_not_there(sweep: Any) -> None:
    assert board_of(sweep.recorded(), Kept(sweep)).analysis.learning == ()
