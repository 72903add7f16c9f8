"""Intervals: closed forms, published examples, and that they hold what they promise where the truth is known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy import stats

from orchestrator.leaderboard.sample import Sample
from orchestrator.leaderboard.statistics.intervals import average_interval, binomial_interval, interval, row_intervals
from tests.orchestrator.leaderboard.statistics import worlds
from tests.orchestrator.leaderboard.statistics.test_estimate import RATINGS

World = Callable[[np.random.Generator], tuple[Sample, float]]


def coverage(world: World, runs: int, resamples: int = 399) -> float:
    """Return the share of simulated rows whose interval holds the truth."""
    random, held = np.random.default_rng(11), 0
    for run in range(runs):
        sample, truth = world(random)
        found = interval(sample, resamples=resamples, seed=run)
        assert found is not None
        held += found[0] <= truth <= found[1]
    return held / runs


def test_interval_of_a_mean_is_satterthwaites() -> None:
    sample = Sample("rating", np.arange(6), RATINGS / 10)
    # Mean squares of Shrout & Fleiss 1979, table 3.
    degrees = 42.7083**2 / (11.2417**2 / 5 + 32.4861**2 / 3 + 1.0194**2 / 15)
    reach = stats.t.ppf(0.975, degrees) * np.sqrt(42.7083 / 24) / 10
    low, high = RATINGS.mean() / 10 - reach, RATINGS.mean() / 10 + reach
    assert interval(sample) == pytest.approx((low, high), rel=1e-4)


def test_interval_of_an_untuned_mean_is_students() -> None:
    values = np.random.default_rng(0).random(30)
    expected = stats.t.interval(0.9, 29, values.mean(), stats.sem(values))
    assert interval(Sample("f1", np.arange(30), values[None], trained=False), level=0.9) == pytest.approx(expected)


def test_average_over_tasks_adds_variances() -> None:
    random = np.random.default_rng(0)
    tables = [random.random((1, size)) for size in (40, 90)]
    found = average_interval([Sample("f1", np.arange(table.size), table, trained=False) for table in tables])
    first, second = (float(stats.sem(table[0])) ** 2 / 4 for table in tables)
    reach = stats.t.ppf(0.975, (first + second) ** 2 / (first**2 / 39 + second**2 / 89)) * np.sqrt(first + second)
    centre = np.mean([table.mean() for table in tables])
    assert found == pytest.approx((centre - reach, centre + reach))


def test_below_three_seeds_there_is_none() -> None:
    values_SN = np.random.default_rng(0).random((3, 20))
    assert interval(Sample("em", np.arange(20), values_SN)) is not None
    assert interval(Sample("em", np.arange(20), values_SN[:2])) is None
    assert average_interval([Sample("em", np.arange(20), values_SN), Sample("em", np.arange(20), values_SN[:2])]) is None
    assert average_interval([]) is None


@pytest.mark.parametrize(("score", "low", "high"), [(1.0, 0.05 ** (1 / 50), 1.0), (0.0, 0.0, 1 - 0.05 ** (1 / 50))])
def test_scores_that_never_vary_have_the_rule_of_three(score: float, low: float, high: float) -> None:
    found = interval(Sample("em", np.arange(50), np.full((5, 50), score)))
    assert found == pytest.approx((low, high))
    assert abs(found[1] - found[0]) == pytest.approx(3 / 50, rel=0.05)


def test_intervals_stay_in_the_range_of_the_metric() -> None:
    values_SN = np.ones((5, 40))
    values_SN[0, 0] = 0
    low, high = interval(Sample("em", np.arange(40), values_SN)) or (0, 0)
    assert 0.9 < low < 1 and high == 1
    perfect = np.arange(40) % 2
    assert interval(Sample("mcc", np.arange(40), predictions_SN=np.tile(perfect, (3, 1)), references_N=perfect)) == pytest.approx(
        (1 - 2 * (1 - 0.05 ** (1 / 40)), 1)
    )


def test_draws_are_seeded_by_arguments_alone() -> None:
    sample, _ = worlds.classes(np.random.default_rng(0), "f1", seeds=5, examples=100, luck=0.1)
    first = interval(sample, resamples=500, seed=3)
    np.random.default_rng(0).random(10)
    assert first == interval(sample, resamples=500, seed=3) != interval(sample, resamples=500, seed=4)


def test_rows_together_have_the_intervals_of_rows_alone() -> None:
    random = np.random.default_rng(0)
    rows = worlds.equal_rows(random, rows=3, seeds=5, examples=200, luck=0.2, metric="mcc", untuned=True)
    rows["other"] = worlds.equal_rows(random, rows=1, seeds=5, examples=100, luck=0.2, metric="mcc")["row-0"]
    rows["seeds"] = [Sample("mcc", rows["row-1"][0].groups_N, predictions_SN=rows["row-1"][0].predictions_SN[:2])]
    found = row_intervals(rows, resamples=4000)
    assert found["seeds"] is None
    for row in ("row-0", "row-1", "row-2", "other"):
        assert found[row] == pytest.approx(average_interval(rows[row], resamples=4000, seed=1), abs=0.012)


def test_a_few_examples_of_the_rare_class_still_have_an_interval() -> None:
    right_N = np.array([1, 1, *[0] * 58])
    given_SN = np.zeros((3, 60), dtype=int)
    given_SN[:, [0, 5]] = 1
    found = interval(Sample("f1", np.arange(60), predictions_SN=given_SN, references_N=right_N), resamples=500)
    assert found is not None and found[0] < 0.5 < found[1] and np.all(np.isfinite(found))


# Wilson's intervals in Newcombe 1998, Two-sided confidence intervals for the single proportion, table I, method 3.
@pytest.mark.parametrize(
    ("right", "n", "low", "high"), [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)]
)
def test_binomial_interval_of_published_examples(right: int, n: int, low: float, high: float) -> None:
    assert binomial_interval(right / n, n) == pytest.approx((low, high), abs=5e-5)
    # A published figure is rounded: the number of right examples is recovered.
    assert binomial_interval(round(right / n, 4), n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize(("score", "n"), [(1.2, 10), (-0.1, 10), (float("nan"), 10), (0.5, 0)])
def test_binomial_interval_of_no_proportion(score: float, n: int) -> None:
    with pytest.raises(ValueError, match="cannot be"):
        binomial_interval(score, n)


WORLDS: dict[str, World] = {
    "mean": lambda random: worlds.accuracy(random, seeds=5, examples=300, luck=0.15),
    "clustered mean": lambda random: worlds.accuracy(random, seeds=5, examples=400, luck=0.15, cluster=1.0, size=5),
    "f1": lambda random: worlds.classes(random, "f1", seeds=5, examples=300, luck=0.15),
    "mcc": lambda random: worlds.classes(random, "mcc", seeds=5, examples=300, luck=0.15),
    "pearson": lambda random: worlds.numbers(random, "pearson", seeds=5, examples=300, luck=0.1),
    "spearman": lambda random: worlds.numbers(random, "spearman", seeds=5, examples=300, luck=0.1),
}


@pytest.mark.parametrize("name", WORLDS)
def test_coverage(name: str) -> None:
    runs = 60 if name == "spearman" else 150
    # 95 % less what chance takes of so few runs: a true coverage of 92 % fails in one of a thousand.
    assert coverage(WORLDS[name], runs, resamples=199) >= stats.binom.ppf(0.001, runs, 0.92) / runs


@pytest.mark.slow
@pytest.mark.parametrize("luck", [0.0, 0.15, 0.3])
@pytest.mark.parametrize("name", WORLDS)
def test_coverage_of_many_runs(name: str, luck: float) -> None:
    scale = luck / 2 if name in ("pearson", "spearman") else luck
    makers: dict[str, World] = {
        "mean": lambda random: worlds.accuracy(random, seeds=5, examples=300, luck=scale),
        "clustered mean": lambda random: worlds.accuracy(random, seeds=5, examples=400, luck=scale, cluster=1.0, size=5),
        **{m: lambda random, m=m: worlds.classes(random, m, seeds=5, examples=300, luck=scale) for m in ("f1", "mcc")},  # type: ignore[misc]
        **{m: lambda random, m=m: worlds.numbers(random, m, seeds=5, examples=300, luck=scale) for m in ("pearson", "spearman")},  # type: ignore[misc]
    }
    runs = 2000 if "mean" in name else 1000
    assert coverage(makers[name], runs) >= 0.92


def naive(sample: Sample, how: str, random: np.random.Generator) -> tuple[float, float]:
    """Return an interval as it is often computed, which the coverage shows to be too short."""
    values_SN: Any = sample.values_SN
    seeds, examples = values_SN.shape
    if how == "pooled":
        return binomial_interval(values_SN.mean(), values_SN.size)
    if how == "seeds":
        low, high = stats.t.interval(0.95, seeds - 1, values_SN.mean(), stats.sem(values_SN.mean(1)))
        return float(low), float(high)
    draws = []
    for _ in range(400):
        chosen_S = random.integers(0, seeds, seeds)
        drawn_SN = random.integers(0, examples, (seeds, examples))
        draws.append(np.mean([values_SN[s, drawn_N].mean() for s, drawn_N in zip(chosen_S, drawn_SN, strict=True)]))
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(low), float(high)


@pytest.mark.slow
@pytest.mark.parametrize(("how", "luck", "most"), [("pooled", 0.15, 0.75), ("seeds", 0.05, 0.85), ("nested", 0.15, 0.87)])
def test_what_is_avoided(how: str, luck: float, most: float) -> None:
    """Pooling seeds and examples, asking seeds alone, and drawing other examples for each seed."""
    random, runs = np.random.default_rng(5), 600
    held = own = 0
    for _ in range(runs):
        sample, truth = worlds.accuracy(random, seeds=5, examples=500, luck=luck)
        for found, is_own in ((naive(sample, how, random), False), (interval(sample), True)):
            assert found is not None
            holds = found[0] <= truth <= found[1]
            own, held = own + (is_own and holds), held + (not is_own and holds)
    assert held / runs < most and own / runs >= 0.92
