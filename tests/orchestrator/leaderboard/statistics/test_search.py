"""The expected best of n points and main effects, against enumeration and closed forms."""

from __future__ import annotations

import math
from itertools import combinations, product

import numpy as np
import pytest

from orchestrator.leaderboard.statistics.search import expected_best, main_effects


def test_expected_best_is_the_mean_over_all_subsets() -> None:
    scores = [0.4, 0.9, 0.1, 0.9, 0.6]
    subsets = [np.mean([max(subset) for subset in combinations(scores, size)]) for size in range(1, 6)]
    assert expected_best(scores) == pytest.approx(subsets, rel=1e-12)


def test_expected_best_of_whole_numbers() -> None:
    # The largest of n of 1..N has the mean n (N + 1) / (n + 1), the German tank problem.
    assert expected_best(range(1, 2001)) == pytest.approx([n * 2001 / (n + 1) for n in range(1, 2001)], rel=1e-9)


def test_expected_best_of_little() -> None:
    assert expected_best([]) == () and expected_best([0.3]) == pytest.approx((0.3,))
    with pytest.raises(ValueError, match="1 of 2 scores are NaN"):
        expected_best([0.3, math.nan])


def test_main_effects_of_an_additive_grid() -> None:
    points = [{"rate": rate, "scale": scale} for rate, scale in product([1, 2, 3], [1, 4])]
    # Variances: 1, 2, 3 has 2/3; 0, 2 has 1.
    scores = [point["rate"] + {1: 0, 4: 2}[point["scale"]] for point in points]
    assert main_effects(points, scores) == {"rate": pytest.approx(0.4), "scale": pytest.approx(0.6)}


def test_an_interaction_belongs_to_no_axis() -> None:
    points = [{"x": x, "y": y} for x, y in product([0, 1], [0, 1])]
    assert main_effects(points, [0, 1, 1, 0]) == {"x": 0, "y": 0}


def test_points_without_a_score_are_passed_over() -> None:
    points = [{"x": "a"}, {"x": "b"}, {"x": None}, {"x": None}]
    assert main_effects(points, [0.0, 1.0, math.nan, 0.5]) == {"x": pytest.approx(1)}
    assert main_effects(points[:2], [0.5, 0.5]) == {"x": 0} and main_effects(points[:1], [math.nan]) == {}
