"""Comparisons: known differences are found, equal rows are seldom told apart, examples are paired."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import stats

from orchestrator.leaderboard.sample import Sample
from orchestrator.leaderboard.statistics.comparisons import PairResult, compare
from orchestrator.leaderboard.statistics.max_t import MaxT
from search_spaces.errors import DataError
from tests.orchestrator.leaderboard.statistics import worlds

Rows = Mapping[str, Sequence[Sample]]


def by_name(pairs: Sequence[PairResult]) -> dict[tuple[str, str], PairResult]:
    return {(pair.a, pair.b): pair for pair in pairs}


def values(table: Any, trained: bool = True) -> list[Sample]:
    return [Sample("f1", np.arange(np.shape(table)[1]), np.asarray(table, dtype=float), trained=trained)]


def test_a_family_has_all_pairs_with_adjusted_p_and_simultaneous_intervals() -> None:
    random = np.random.default_rng(0)
    difficulty_N = random.normal(0.5, 0.3, 300)
    rows = {
        name: values(difficulty_N + shift + random.normal(0, 0.01, (5, 1)) + random.normal(0, 0.1, (5, 300)))
        for name, shift in (("best", 0.2), ("second", 0.195), ("last", 0.0))
    }
    found = by_name(compare(rows, margin=0.05, resamples=2000))
    assert list(found) == [("best", "second"), ("best", "last"), ("second", "last")]
    assert found["best", "last"].verdict == found["second", "last"].verdict == "better"
    assert found["best", "second"].verdict == "non-inferior"
    assert found["best", "last"].p == pytest.approx(1 / 2001, rel=0.5)
    for pair in found.values():
        assert pair.ci[0] < pair.difference < pair.ci[1]
        assert pair.difference == pytest.approx(rows[pair.a][0].values_SN.mean() - rows[pair.b][0].values_SN.mean())
    assert by_name(compare(rows, margin=0.0001, resamples=2000))["best", "second"].verdict == "inconclusive"
    turned = by_name(compare(dict(reversed(rows.items())), margin=0.05, resamples=2000))
    assert turned["last", "best"].verdict == "worse"


def test_pairing_finds_what_separate_intervals_do_not() -> None:
    random = np.random.default_rng(1)
    difficulty_N = random.normal(0.5, 0.4, 200)
    rows = {name: values(difficulty_N + shift + random.normal(0, 0.02, (5, 200))) for name, shift in (("a", 0.01), ("b", 0.0))}
    (pair,) = compare(rows, resamples=2000)
    assert pair.verdict == "better" and pair.ci[1] - pair.ci[0] < 0.02
    unpaired = {"a": rows["a"], "b": values(random.permuted(rows["b"][0].values_SN, axis=1))}
    assert compare(unpaired, resamples=2000)[0].verdict != "better"


def test_seeds_are_not_paired() -> None:
    """The order of a row's seeds changes nothing but the draws."""
    random = np.random.default_rng(2)
    luck_S1 = random.normal(0, 0.05, (5, 1))
    table = 0.5 + luck_S1 + random.normal(0, 0.1, (5, 200))
    (paired,) = compare({"a": values(table + 0.02), "b": values(table)}, resamples=4000)
    assert paired.verdict == "inconclusive"
    (turned,) = compare({"a": values(table + 0.02), "b": values(table[::-1])}, resamples=4000)
    assert turned.difference == pytest.approx(paired.difference) and turned.ci == pytest.approx(paired.ci, abs=0.01)


def test_two_rows_without_seeds_have_the_interval_of_a_paired_t_test() -> None:
    random = np.random.default_rng(3)
    first, second = random.normal(0.5, 0.2, (2, 400))
    (pair,) = compare({"a": values(first[None], trained=False), "b": values(second[None], trained=False)})
    expected = stats.ttest_rel(first, second)
    assert pair.p == pytest.approx(expected.pvalue, abs=0.02)
    assert pair.ci == pytest.approx(tuple(expected.confidence_interval()), abs=0.003)


def test_an_untuned_row_takes_part() -> None:
    rows = worlds.equal_rows(np.random.default_rng(4), rows=3, seeds=5, examples=200, luck=0.1, untuned=True)
    shifted = replace(rows["row-1"][0], values_SN=np.ones((5, 200)))
    found = by_name(compare({**rows, "row-1": [shifted]}, resamples=999))
    assert found["row-0", "row-1"].verdict == "worse" and found["row-0", "row-2"].verdict != "worse"


def test_identical_rows_are_never_told_apart() -> None:
    (pair,) = compare({"a": values(np.ones((5, 100))), "b": values(np.ones((5, 100)))}, resamples=999)
    assert pair.difference == 0 and pair.p == 1
    # A hundred examples without a difference do not show that there is none in a thousand: about two of them would hardly be noticed.
    assert 0.015 < pair.ci[1] < 0.03


def test_few_examples_prove_little_however_clear_they_are() -> None:
    (pair,) = compare({"a": values(np.ones((5, 3))), "b": values(np.zeros((5, 3)))}, resamples=9999)
    assert pair.difference == 1 and pair.p > 0.05


def test_average_over_tasks() -> None:
    random = np.random.default_rng(5)
    rows = worlds.equal_rows(random, rows=2, seeds=5, examples=150, luck=0.1, tasks=3)
    (pair,) = compare(rows, resamples=999)
    means = [np.mean([sample.values_SN.mean() for sample in tasks]) for tasks in rows.values()]
    assert pair.difference == pytest.approx(means[0] - means[1])
    alone = [compare({name: tasks[:1] for name, tasks in rows.items()}, resamples=999)[0]]
    assert pair.ci[1] - pair.ci[0] < alone[0].ci[1] - alone[0].ci[0]


def test_step_down_is_sharper_than_single_step_and_keeps_the_order() -> None:
    draws_BC = np.random.default_rng(6).normal(size=(5000, 4))
    observed_C = np.array([1.0, 6.0, 2.3, 0.5])
    family = MaxT(observed_C)
    family.add(draws_BC[:2000])
    family.add(draws_BC[2000:])
    p_C = family.p_values(np.zeros(4))
    largest_B = np.abs(draws_BC).max(1)
    assert p_C[1] == pytest.approx(1 / 5001)
    single = (np.sum(largest_B >= 2.3) + 1) / 5001
    # Without the hypothesis that was rejected before: three are left.
    assert p_C[2] == (np.sum(np.abs(draws_BC[:, [0, 2, 3]]).max(1) >= 2.3) + 1) / 5001 < single
    assert p_C[1] < p_C[2] < p_C[0] < p_C[3]
    assert family.quantile(0.95) == pytest.approx(stats.norm.ppf(0.5 + 0.95 ** (1 / 4) / 2), abs=0.08)
    assert np.all(family.p_values(np.full(4, 0.9)) >= 0.9)


def test_nothing_to_compare() -> None:
    assert compare({}) == () and compare({"a": values(np.ones((3, 9)))}) == () and compare({"a": [], "b": []}) == ()


def test_rows_that_cannot_be_compared_are_named() -> None:
    whole = values(np.random.default_rng(0).random((3, 9)))
    with pytest.raises(DataError, match="row 'b' cannot be compared on task 0: 2 of at least 3 seeds"):
        compare({"a": whole, "b": values(np.ones((2, 9)))})
    with pytest.raises(DataError, match="row 'b' does not have the tasks and examples of row 'a'"):
        compare({"a": whole, "b": values(np.ones((3, 8)))})
    with pytest.raises(DataError, match="row 'b' does not have the tasks"):
        compare({"a": whole, "b": whole * 2})


def false_positives(runs: int, resamples: int = 199, **world: Any) -> float:
    """Return the share of families of equal rows in which any two were told apart."""
    random, wrong = np.random.default_rng(21), 0
    for run in range(runs):
        found = compare(worlds.equal_rows(random, **world), resamples=resamples, seed=run)
        wrong += any(pair.verdict in ("better", "worse") for pair in found)
    return wrong / runs


@pytest.mark.parametrize("metric", ["accuracy", "mcc"])
def test_equal_rows_are_seldom_told_apart(metric: str) -> None:
    runs = 120
    found = false_positives(runs, rows=4, seeds=5, examples=200, luck=0.15, metric=metric, untuned=True)
    # A true rate of 6 % fails in one of a thousand.
    assert found <= stats.binom.ppf(0.999, runs, 0.06) / runs


@pytest.mark.slow
@pytest.mark.parametrize(
    "world",
    [
        {"rows": 6, "luck": 0.0},
        {"rows": 6, "luck": 0.15},
        {"rows": 6, "luck": 0.15, "untuned": True},
        {"rows": 4, "luck": 0.15, "tasks": 3},
        {"rows": 12, "luck": 0.1},
        {"rows": 4, "luck": 0.1, "metric": "f1"},
        {"rows": 4, "luck": 0.1, "metric": "mcc"},
        {"rows": 6, "luck": [0.05, 0.05, 0.1, 0.1, 0.2, 0.2]},
    ],
    ids=str,
)
def test_false_positives_of_many_families(world: dict[str, Any]) -> None:
    runs = 1500
    found = false_positives(runs, resamples=399, seeds=5, examples=300, **world)
    # At most 6 %, and what chance adds to it: 1.2 standard errors.
    assert found <= 0.06 + 1.2 * np.sqrt(0.06 * 0.94 / runs)


@pytest.mark.slow
def test_what_is_avoided_in_comparisons() -> None:
    """t tests of every pair over examples, which take the seeds for all there are, tell equal rows apart most of the time."""
    random, runs, wrong = np.random.default_rng(8), 300, 0
    for _ in range(runs):
        rows = worlds.equal_rows(random, rows=6, seeds=5, examples=300, luck=0.15)
        means = [tasks[0].values_SN.mean(0) for tasks in rows.values()]
        wrong += any(stats.ttest_rel(a, b).pvalue < 0.05 for number, a in enumerate(means) for b in means[:number])
    assert wrong / runs > 0.4
