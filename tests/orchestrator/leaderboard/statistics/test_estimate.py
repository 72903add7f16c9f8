"""Variance components and degrees of freedom, against published analyses of variance and closed forms."""

from __future__ import annotations

import numpy as np
import pytest

from orchestrator.leaderboard.sample import Sample
from orchestrator.leaderboard.statistics.estimate import Estimate, lacking
from orchestrator.leaderboard.statistics.satterthwaite import variance_and_degrees
from tests.orchestrator.leaderboard.statistics import worlds

# Shrout & Fleiss 1979, Intraclass correlations, table 2: four judges rate six targets; their table 3 has the mean squares.
RATINGS = np.array([[9, 6, 8, 7, 10, 6], [2, 1, 4, 1, 5, 2], [5, 3, 6, 2, 6, 4], [8, 2, 8, 6, 9, 7]], dtype=float)


def test_mean_squares_of_a_published_two_way_table() -> None:
    estimate = Estimate(Sample("rating", np.arange(6), RATINGS))
    assert 24 * estimate.by_cluster == pytest.approx(11.24, abs=0.005)
    assert 24 * estimate.by_seed == pytest.approx(32.49, abs=0.005)
    assert 24 * estimate.residual == pytest.approx(1.02, abs=0.005)
    assert estimate.score == pytest.approx(RATINGS.mean())


def test_variance_of_the_mean_and_its_degrees_of_freedom() -> None:
    variance, degrees = variance_and_degrees(Estimate(Sample("rating", np.arange(6), RATINGS)).terms)
    assert variance == pytest.approx((11.2417 + 32.4861 - 1.0194) / 24, rel=1e-4)
    assert degrees == pytest.approx(42.7083**2 / (11.2417**2 / 5 + 32.4861**2 / 3 + 1.0194**2 / 15), rel=1e-4)


def test_welch_is_the_case_of_two_means() -> None:
    # Welch 1938: variances 4 and 9 of samples of 5 and 10.
    variance, degrees = variance_and_degrees([(4 / 5, 4), (9 / 10, 9)])
    assert variance == pytest.approx(1.7)
    assert degrees == pytest.approx(1.7**2 / (0.8**2 / 4 + 0.9**2 / 9))


def test_seeds_that_vary_less_than_chance_count_as_equal() -> None:
    values_SN = np.array([[1.0, 0, 1, 0, 1, 1], [0, 1, 1, 1, 0, 1], [1, 1, 1, 1, 0, 0]])
    estimate = Estimate(Sample("accuracy", np.arange(6), values_SN))
    assert estimate.by_seed < estimate.residual and estimate.seed_variance == 0
    assert list(variance_and_degrees(estimate.terms)) == pytest.approx([values_SN.mean(0).var(ddof=1) / 6, 5])


def test_an_untuned_row_has_no_seeds_that_vary() -> None:
    values_N = np.array([[0.0, 1, 1, 0, 1, 1, 1, 1]])
    variance, degrees = variance_and_degrees(Estimate(Sample("accuracy", np.arange(8), values_N, trained=False)).terms)
    assert [variance, degrees] == pytest.approx([values_N.var(ddof=1) / 8, 7])


def test_clusters_of_equal_size_are_examples_of_their_means() -> None:
    values_SN = np.random.default_rng(0).random((3, 40))
    grouped = Estimate(Sample("f1", np.repeat(np.arange(10), 4), values_SN))
    means = Estimate(Sample("f1", np.arange(10), values_SN.reshape(3, 10, 4).mean(2)))
    assert [grouped.by_seed, grouped.by_cluster, grouped.residual] == pytest.approx([means.by_seed, means.by_cluster, means.residual])


def test_clusters_of_unequal_size_have_the_variance_of_a_ratio() -> None:
    # Cochran 1977, Sampling Techniques, of a large population: var(sum y / sum m) = sum (y - r m)^2 / (G (G - 1) mean(m)^2).
    sizes, totals = np.array([1, 4, 2, 7, 3]), np.array([1.0, 3.0, 0.0, 6.0, 1.0])
    values = np.concatenate([np.arange(size) < total for size, total in zip(sizes, totals, strict=True)]).astype(float)
    estimate = Estimate(Sample("em", np.repeat(np.arange(5), sizes), values[None], trained=False))
    ratio = totals.sum() / sizes.sum()
    assert estimate.score == pytest.approx(ratio)
    assert estimate.by_cluster == pytest.approx(np.sum((totals - ratio * sizes) ** 2) / (5 * 4 * sizes.mean() ** 2))


def test_components_of_a_simulation_are_those_that_went_in() -> None:
    random, found = np.random.default_rng(1), []
    for _ in range(400):
        values_SN = random.normal(0, 0.3, (5, 1)) + random.normal(0, 1, 50) + random.normal(0, 0.5, (5, 50))
        estimate = Estimate(Sample("f1", np.arange(50), values_SN))
        found.append((estimate.by_seed - estimate.residual, estimate.by_cluster, estimate.residual))
    assert np.mean(found, axis=0) == pytest.approx([0.09 / 5, (1 + 0.25 / 5) / 50, 0.25 / 250], rel=0.08)


@pytest.mark.parametrize(
    ("sample", "why"),
    [
        (Sample("em", np.arange(4), np.ones((2, 4))), "2 of at least 3 seeds"),
        (Sample("em", np.arange(4)), "0 of at least 3 seeds"),
        (Sample("em", np.arange(4), trained=False), "no predictions"),
        (Sample("em", np.zeros(4, dtype=int), np.ones((3, 4))), "fewer than 2 groups"),
        (Sample("em", np.arange(0), np.ones((3, 0))), "fewer than 2 groups"),
        (Sample("em", np.arange(2), np.array([[1.0, 0], [1, np.nan], [1, 1]])), "not defined for every seed"),
        (Sample("bleu", np.arange(4), predictions_SN=np.ones((3, 4)), references_N=np.ones(4)), "'bleu' cannot be computed anew"),
        (Sample("mcc", np.arange(4), predictions_SN=np.ones((3, 4))), "no references"),
        (Sample("pearson", np.arange(4), predictions_SN=np.ones((3, 4)), references_N=np.arange(4)), "not defined for every seed"),
    ],
)
def test_what_a_sample_lacks_is_said(sample: Sample, why: str) -> None:
    assert why in str(lacking(sample))


def test_a_whole_sample_lacks_nothing() -> None:
    for metric in ("f1", "mcc"):
        assert lacking(worlds.classes(np.random.default_rng(0), metric, seeds=3, examples=50, luck=0.1)[0]) is None
