"""Letters and rank intervals, against published displays and by what they must say."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from orchestrator.leaderboard.statistics.comparisons import PairResult
from orchestrator.leaderboard.statistics.ties import letters, rank_intervals


def pairs(rows: str, told_apart: set[str]) -> list[PairResult]:
    """Return all pairs of rows from the best to the worst; `told_apart` are those whose first row is better."""
    return [PairResult(a, b, 0.1, (0.0, 0.2), 0.01, "better" if a + b in told_apart else "inconclusive") for a, b in combinations(rows, 2)]


def test_letters_of_a_published_display() -> None:
    # Gramm et al. 2007, Algorithms for compact letter displays, figure 2: three cliques cover the pairs that are not told apart.
    assert letters("12345", pairs("12345", {"15", "23", "25", "35"})) == {"1": "ab", "2": "a", "3": "b", "4": "abc", "5": "c"}


def test_letters_that_say_nothing_new_are_left_out() -> None:
    # Not told apart: a triangle 1-2-3 and a neighbour on each of its sides, so that the triangle's pairs all share a letter elsewhere.
    alike = {"12", "13", "23", "14", "24", "15", "35", "26", "36"}
    found = letters("123456", pairs("123456", {a + b for a, b in combinations("123456", 2)} - alike))
    assert found == {"1": "ab", "2": "ac", "3": "bc", "4": "a", "5": "b", "6": "c"}


def test_ties_are_not_transitive() -> None:
    assert letters("xyz", pairs("xyz", {"xz"})) == {"x": "a", "y": "ab", "z": "b"}


def test_all_alike_share_one_letter_and_all_apart_share_none() -> None:
    assert letters("xyz", pairs("xyz", set())) == {"x": "a", "y": "a", "z": "a"}
    assert letters("xyz", pairs("xyz", {"xy", "xz", "yz"})) == {"x": "a", "y": "b", "z": "c"}


def test_the_best_row_has_the_first_letter() -> None:
    assert letters("zyx", pairs("zyx", {"zx"})) == {"z": "a", "y": "ab", "x": "b"}


def test_rows_that_were_not_compared_have_neither() -> None:
    tested = pairs("xz", {"xz"})
    assert letters("xyz", tested) == {"x": "a", "y": "", "z": "b"}
    assert rank_intervals("xyz", tested) == {"x": (1, 1), "z": (2, 2)}
    assert letters("xy", []) == {"x": "", "y": ""} and rank_intervals("xy", []) == {}


def test_rank_intervals_count_who_is_told_to_be_better_or_worse() -> None:
    assert rank_intervals("wxyz", pairs("wxyz", {"wy", "wz", "xz"})) == {"w": (1, 2), "x": (1, 3), "y": (2, 4), "z": (3, 4)}


def test_rank_intervals_do_not_depend_on_the_side_a_row_stands_on() -> None:
    assert rank_intervals("xy", [PairResult("y", "x", -0.1, (-0.2, 0.0), 0.01, "worse")]) == {"x": (1, 1), "y": (2, 2)}


@pytest.mark.parametrize("seed", range(20))
def test_letters_say_what_the_tests_said(seed: int) -> None:
    random, rows = np.random.default_rng(seed), "abcdefghij"
    apart = {a + b for a, b in combinations(rows, 2) if random.random() < 0.4}
    found = letters(rows, pairs(rows, apart))
    assert {a + b for a, b in combinations(rows, 2) if not set(found[a]) & set(found[b])} == apart
    holders = [{row for row in rows if letter in found[row]} for letter in sorted(set("".join(found.values())))]
    assert not any(one < other for one in holders for other in holders)


def test_sixty_letters_stay_apart() -> None:
    names = [f"row {number}" for number in range(60)]
    found = letters(names, [PairResult(a, b, 0.1, (0, 1), 0.01, "better") for a, b in combinations(names, 2)])
    assert len(set(found.values())) == 60 and found["row 51"] == "Z" and found["row 52"] == "(53)"
