"""A row's score on one task with its variance components: seeds and clusters of examples are crossed random effects."""

from __future__ import annotations

import numpy as np

from orchestrator.leaderboard.sample import Floats, Sample
from orchestrator.leaderboard.statistics.clusters import NEGLIGIBLE, mean_squared_share
from orchestrator.leaderboard.statistics.metrics import METRICS, Scorer, range_of, scorer_of

FEWEST_SEEDS = 3


class Estimate:
    """The mean score over the seeds, and what its variance is made of.

    A seed's score plus the influence of a cluster on it is a two-way table (seed, cluster) without replication. Its mean squares, as in an
    analysis of variance with two random effects, are kept divided by the size of the table, S x G: variances of the mean over the table,
    which sum to by_seed + by_cluster - residual.
    """

    def __init__(self, sample: Sample) -> None:
        self.scorer: Scorer = scorer_of(sample)
        self.trained = sample.trained
        self.range = range_of(sample)
        self.scores_S: Floats = self.scorer.scores_S
        self.score = float(self.scores_S.mean())
        self.influence_G: Floats = self.scorer.influence_SG.mean(0)
        self.seeds, self.clusters = self.scorer.influence_SG.shape
        self.share = mean_squared_share(sample.groups_N)
        """Variance that a single cluster would give that differs from the others by 1."""
        self.varied = bool(np.abs(self.influence_G).max() > NEGLIGIBLE)
        self.by_cluster = float(self.influence_G.var(ddof=1)) / self.clusters if self.varied else self.share
        self.by_seed = float(self.scores_S.var(ddof=1)) / self.seeds if self.trained else 0.0
        self.residual = self._residual() if self.trained else 0.0

    def _residual(self) -> float:
        left_SG = self.scorer.influence_SG - self.influence_G
        degrees = (self.seeds - 1) * (self.clusters - 1)
        return float(np.sum(left_SG**2) / (degrees * self.seeds * self.clusters))

    @property
    def seed_variance(self) -> float:
        """Variance of the score that comes of the seeds alone; an estimate below zero counts as zero."""
        return max(0.0, self.by_seed - self.residual)

    @property
    def seed_terms(self) -> tuple[tuple[float, int], ...]:
        """The mean squares that make up `seed_variance`, with their degrees of freedom; none where it is zero."""
        if not self.seed_variance:
            return ()
        degrees = self.seeds - 1
        return (self.by_seed, degrees), (-self.residual, degrees * (self.clusters - 1))

    @property
    def terms(self) -> tuple[tuple[float, int], ...]:
        """The mean squares that make up the variance of the score, with their degrees of freedom."""
        return (self.by_cluster, self.clusters - 1), *self.seed_terms

    @property
    def constant(self) -> bool:
        """Whether no seed and no cluster differs from another: nothing tells how the score varies."""
        return bool(np.abs(self.scorer.influence_SG).max() <= NEGLIGIBLE and np.ptp(self.scores_S) <= NEGLIGIBLE)


def lacking(sample: Sample) -> str | None:
    """Return what a sample lacks for an interval or a test; None where it has all."""
    if sample.trained and sample.seeds < FEWEST_SEEDS:
        return f"{sample.seeds} of at least {FEWEST_SEEDS} seeds"
    if not sample.seeds:
        return "no predictions"
    if len(sample.groups_N) == 0 or sample.groups_N.max() < 1:
        return "fewer than 2 groups of examples"
    if sample.values_SN is None and sample.metric not in METRICS:
        return f"metric {sample.metric!r} cannot be computed anew of drawn examples (known: {', '.join(METRICS)})"
    if sample.values_SN is None and sample.references_N is None:
        return "no references"
    known = sample.values_SN if sample.values_SN is not None else scorer_of(sample).scores_S
    return None if np.all(np.isfinite(known)) else f"metric {sample.metric!r} is not defined for every seed"
