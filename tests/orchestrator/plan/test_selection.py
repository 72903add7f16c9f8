"""Which grid point is selected, and how ties are broken."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.selection import Result, select_point


def result(rate: float, score: float | None, loss: float | None = 1.0, seed: int = 100, status: Any = "finished", **point: Any) -> Result:
    return Result({"learning_rate": rate, **point}, seed, status, score, loss)


def test_the_highest_mean_score_wins() -> None:
    selection = select_point([result(0.1, 0.9), result(0.1, 0.1, seed=101), result(0.2, 0.6), result(0.2, 0.6, seed=101)])
    assert selection.point == {"learning_rate": 0.2}
    assert selection.score == pytest.approx(0.6)
    assert selection.loss == pytest.approx(1.0)
    assert selection.failed == 0


def test_ties_go_to_the_lower_loss_then_the_smaller_rate_then_the_grids_order() -> None:
    assert select_point([result(0.1, 0.5, 2.0), result(0.2, 0.5, 1.0)]).point["learning_rate"] == 0.2
    assert select_point([result(0.2, 0.5, 1.0), result(0.1, 0.5, 1.0)]).point["learning_rate"] == 0.1
    tied = select_point([result(0.1, 0.5, scale=2.0), result(0.1, 0.5, scale=1.0), result(0.2, 0.5)])
    assert tied.point == {"learning_rate": 0.1, "scale": 2.0}
    assert tied.tied == ({"learning_rate": 0.1, "scale": 2.0}, {"learning_rate": 0.1, "scale": 1.0})


def test_a_missing_loss_loses_a_tie() -> None:
    assert select_point([result(0.1, 0.5, None), result(0.2, 0.5, 9.0)]).point["learning_rate"] == 0.2


@pytest.mark.parametrize("status", ["diverged", "error", "out_of_memory", "pruned"])
def test_a_point_with_a_failed_seed_comes_last(status: str) -> None:
    results = [result(0.1, 0.9), result(0.1, 0.99, seed=101, status=status), result(0.2, 0.0), result(0.2, 0.0, seed=101)]
    selection = select_point(results)
    assert selection.point == {"learning_rate": 0.2}
    assert selection.score == 0.0
    assert selection.failed == (status != "pruned")


@pytest.mark.parametrize("score", [None, float("nan"), float("inf")])
def test_a_score_that_is_no_number_counts_as_failed(score: float | None) -> None:
    assert select_point([result(0.1, score), result(0.2, 0.1)]).point == {"learning_rate": 0.2}


def test_a_point_that_lacks_a_seed_counts_as_failed() -> None:
    assert select_point([result(0.1, 0.9), result(0.2, 0.1), result(0.2, 0.1, seed=101)]).point == {"learning_rate": 0.2}


def test_without_a_complete_point_the_smallest_rate_is_taken_without_a_score() -> None:
    selection = select_point([result(0.2, 0.9, status="diverged"), result(0.1, None, status="error")])
    assert (selection.point, selection.score, selection.loss, selection.failed) == ({"learning_rate": 0.1}, None, None, 2)


def test_the_order_of_arrival_does_not_matter_where_scores_differ() -> None:
    results = [result(rate, rate, seed=seed) for rate in (0.1, 0.3, 0.2) for seed in (100, 101)]
    assert select_point(results).point == select_point(results[::-1]).point == {"learning_rate": 0.3}


def test_nothing_to_choose_from_is_an_error() -> None:
    with pytest.raises(ValueError, match="no select trial"):
        select_point([])
