"""The metrics that can be computed anew of drawn examples, by their names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from orchestrator.leaderboard.sample import Floats, Integers, Sample
from orchestrator.leaderboard.statistics import moments
from orchestrator.leaderboard.statistics.spearman import Spearman


class Scorer(Protocol):
    """A metric of one row on one task."""

    scores_S: Floats
    """What each seed reached on all examples."""
    influence_SG: Floats
    """G times the derivative of each seed's score by the weight of each cluster; its mean over the clusters is 0."""

    def draw(self, weights_BG: NDArray[np.float32]) -> Floats:
        """Return each seed's score, (B, S), where each cluster counts as often as it was drawn; NaN where it is not defined."""
        ...


@dataclass(frozen=True)
class Metric:
    """A metric of all predictions together."""

    scorer: Callable[[NDArray[Any], NDArray[Any], Integers], Scorer]
    lowest: float = -1.0
    highest: float = 1.0


MEAN_RANGE = (0.0, 1.0)
METRICS = {
    "f1": Metric(moments.f1, lowest=0.0),
    "mcc": Metric(moments.matthews),
    "pearson": Metric(moments.pearson),
    "spearman": Metric(Spearman),
}


def range_of(sample: Sample) -> tuple[float, float]:
    """Return the lowest and the highest score of a sample's metric."""
    if sample.values_SN is not None:
        return MEAN_RANGE
    metric = METRICS[sample.metric]
    return metric.lowest, metric.highest


def scorer_of(sample: Sample) -> Scorer:
    """Return what computes a sample's metric.

    Raises:
        KeyError: the metric is no mean, and not one of METRICS.
    """
    if sample.values_SN is not None:
        return moments.mean(np.asarray(sample.values_SN, dtype=np.float64), sample.groups_N)
    return METRICS[sample.metric].scorer(np.asarray(sample.predictions_SN), np.asarray(sample.references_N), sample.groups_N)
