"""Metrics of draws: against the libraries that define them, on examples repeated as often as they were drawn."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from sklearn.metrics import f1_score, matthews_corrcoef

from orchestrator.leaderboard.sample import Sample
from orchestrator.leaderboard.statistics.metrics import METRICS, scorer_of

SEEDS, EXAMPLES = 3, 60
ORACLES: dict[str, Any] = {
    "f1": lambda given, right: f1_score(right, given, zero_division=0.0),
    "mcc": lambda given, right: matthews_corrcoef(right, given),
    "pearson": lambda given, right: pearsonr(given, right)[0],
    "spearman": lambda given, right: spearmanr(given, right)[0],
    "mean": lambda given, right: given.mean(),
}


def sample_of(metric: str, groups_N: Any, classes: int = 2) -> Sample:
    random = np.random.default_rng(7)
    if metric == "mean":
        return Sample(metric, groups_N, random.random((SEEDS, EXAMPLES)), references_N=np.zeros(EXAMPLES))
    right_N: Any = random.integers(0, classes, EXAMPLES)
    given_SN: Any = np.where(random.random((SEEDS, EXAMPLES)) < 0.7, right_N, random.integers(0, classes, (SEEDS, EXAMPLES)))
    if metric in ("pearson", "spearman"):
        # Rounded, so that there are ties; far from 0, which single precision must survive.
        right_N = 1000 + right_N + random.normal(size=EXAMPLES).round(1)
        given_SN = 5000 + given_SN + random.normal(size=(SEEDS, EXAMPLES)).round(1)
    return Sample(metric, groups_N, predictions_SN=given_SN, references_N=right_N)


def expected(sample: Sample, weights_G: Any) -> list[float]:
    repeats = weights_G[sample.groups_N].astype(int)
    table = sample.values_SN if sample.values_SN is not None else sample.predictions_SN
    oracle = ORACLES[sample.metric]
    return [float(oracle(np.repeat(row, repeats), np.repeat(sample.references_N, repeats))) for row in table]


def test_every_metric_has_an_oracle() -> None:
    assert set(METRICS) == set(ORACLES) - {"mean"}


@pytest.mark.parametrize("metric", ORACLES)
@pytest.mark.parametrize("groups_N", [np.arange(EXAMPLES), np.sort(np.arange(EXAMPLES) ** 2 % 17) // 2], ids=["examples", "clusters"])
def test_a_draw_scores_as_the_examples_that_were_drawn(metric: str, groups_N: Any) -> None:
    _, groups_N = np.unique(groups_N, return_inverse=True)
    sample = sample_of(metric, groups_N)
    clusters = groups_N.max() + 1
    weights_BG = np.random.default_rng(0).integers(0, 4, (20, clusters)).astype(np.float32)
    found_BS = scorer_of(sample).draw(weights_BG)
    assert found_BS == pytest.approx(np.array([expected(sample, weights_G) for weights_G in weights_BG]), abs=2e-6)
    assert scorer_of(sample).scores_S == pytest.approx(expected(sample, np.ones(clusters)), abs=1e-12)


@pytest.mark.parametrize("metric", ORACLES)
@pytest.mark.parametrize("size", [1, 4])
def test_influence_is_the_derivative_by_the_weight_of_a_cluster(metric: str, size: int) -> None:
    sample = sample_of(metric, np.arange(EXAMPLES) // size)
    scorer, clusters = scorer_of(sample), EXAMPLES // size
    # Single precision allows no small step; central differences leave an error of its square.
    steps_GG = np.concatenate([np.ones((clusters, clusters)) + sign * 0.02 * np.eye(clusters) for sign in (1, -1)]).astype(np.float32)
    up, down = np.split(scorer.draw(steps_GG), 2)
    slopes_SG = clusters * (up - down).T / 0.04
    assert scorer.influence_SG == pytest.approx(slopes_SG, abs=0.01 * np.abs(slopes_SG).max())
    assert scorer.influence_SG.mean(1) == pytest.approx(np.zeros(SEEDS), abs=1e-9)


def test_matthews_correlation_of_more_than_two_classes() -> None:
    sample = sample_of("mcc", np.arange(EXAMPLES), classes=4)
    assert scorer_of(sample).scores_S == pytest.approx(expected(sample, np.ones(EXAMPLES)))


def test_classes_may_be_texts_and_predictions_may_be_missing() -> None:
    right_N = np.array(["yes", "no", "yes", "no"], dtype=object)
    given_SN = np.array([["yes", "no", None, "no"]], dtype=object)
    found = scorer_of(Sample("mcc", np.arange(4), predictions_SN=given_SN, references_N=right_N, trained=False)).scores_S
    assert found == pytest.approx([matthews_corrcoef(["yes", "no", "yes", "no"], ["yes", "no", "none", "no"])])


@pytest.mark.parametrize(("metric", "score"), [("f1", 0.0), ("mcc", 0.0), ("pearson", np.nan), ("spearman", np.nan)])
def test_a_constant_prediction(metric: str, score: float) -> None:
    right_N = np.array([0, 1, 0, 1, 1])
    scorer = scorer_of(Sample(metric, np.arange(5), predictions_SN=np.zeros((3, 5), dtype=int), references_N=right_N))
    assert scorer.scores_S == pytest.approx([score] * 3, nan_ok=True)
    assert scorer.draw(np.ones((2, 5), dtype=np.float32)) == pytest.approx(np.full((2, 3), score), nan_ok=True)
    assert np.all(np.isfinite(scorer.influence_SG))


def test_a_number_that_is_none_leaves_no_correlation() -> None:
    given_SN = np.array([[0.5, np.nan, 2.0, 3.0], [1.0, 2.0, 3.0, 4.0]])
    for metric in ("pearson", "spearman"):
        scores = scorer_of(Sample(metric, np.arange(4), predictions_SN=given_SN, references_N=np.arange(4))).scores_S
        assert np.isnan(scores[0]) and scores[1] == pytest.approx(1)
