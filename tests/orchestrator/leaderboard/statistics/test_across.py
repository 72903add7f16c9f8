"""Average ranks and Friedman's test, against published tables of its exact distribution."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import friedmanchisquare

from orchestrator.leaderboard.statistics import across
from orchestrator.leaderboard.statistics.across import average_ranks, friedman_p


def test_average_ranks_count_from_the_best_and_share_ties() -> None:
    scores_RT = np.array([[0.9, 0.5, 0.7], [0.8, 0.5, 0.9], [0.7, 0.1, np.nan], [0.6, 0.4, 0.1]])
    assert average_ranks(scores_RT, ["x", "y", "z", "w"]) == {"x": pytest.approx(4.5 / 3), "y": pytest.approx(4.5 / 3), "w": 3}
    assert average_ranks(np.full((1, 2), np.nan), ["x"]) == {} and average_ranks(np.zeros((0, 3)), []) == {}


# Siegel 1956, Nonparametric Statistics, table N (of Friedman 1937): rank orders of the rows on each task, chi-squared, exact p.
PUBLISHED = [
    ([[1, 2, 3]] * 2, 4.0, 0.167),
    ([[1, 2, 3]] * 3, 6.0, 0.028),
    ([[1, 2, 3]] * 4, 8.0, 0.0046),
    ([[1, 2, 3]] * 3 + [[2, 1, 3]], 6.5, 0.042),
    ([[1, 2, 3, 4]] * 2, 6.0, 0.042),
    ([[1, 2, 3, 4]] * 3, 9.0, 0.0017),
]


@pytest.mark.parametrize(("ranks_TR", "statistic", "p"), PUBLISHED)
def test_exact_p_of_published_tables(ranks_TR: list[list[int]], statistic: float, p: float) -> None:
    scores_RT = -np.array(ranks_TR, dtype=float).T
    assert friedmanchisquare(*scores_RT).statistic == pytest.approx(statistic)
    assert friedman_p(scores_RT, seed=0) == pytest.approx(p, abs=6e-4)


def test_drawn_permutations_agree_with_all_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    scores_RT = np.random.default_rng(3).normal(size=(4, 8)) + np.array([[0.0], [0.3], [0.6], [0.9]])
    exact = friedman_p(scores_RT, seed=0)
    monkeypatch.setattr(across, "EXACT_SUMS", 0)
    drawn = friedman_p(scores_RT, seed=0)
    assert exact is not None and drawn is not None and drawn != exact
    assert drawn == pytest.approx(exact, abs=5 * np.sqrt(exact / across.PERMUTATIONS))
    assert drawn == friedman_p(scores_RT, seed=0)


def test_many_rows_and_tasks_come_near_the_chi_squared_limit() -> None:
    scores_RT = np.random.default_rng(4).normal(size=(12, 30)) + np.linspace(0, 0.5, 12)[:, None]
    found, limit = friedman_p(scores_RT, seed=0), friedmanchisquare(*scores_RT).pvalue
    assert found == pytest.approx(limit, rel=0.15)


def test_ties_permute_with_their_shared_ranks() -> None:
    # Two rows: a sign test over the tasks where they differ; 3 wins of 3, one tie: 2 x 2^-3.
    assert friedman_p(np.array([[0.9, 0.8, 0.7, 0.5], [0.1, 0.2, 0.3, 0.5]]), seed=0) == pytest.approx(0.25)
    assert friedman_p(np.ones((3, 5)), seed=0) == pytest.approx(1)


def test_too_little_to_test() -> None:
    assert friedman_p(np.ones((1, 5)), seed=0) is None
    assert friedman_p(np.ones((3, 0)), seed=0) is None
    assert friedman_p(np.array([[1.0, 2.0], [np.nan, 1.0]]), seed=0) is None
