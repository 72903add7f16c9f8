"""Contrasts: weighted sums of rows, such as their differences, averaged over tasks; observed and in draws of clusters and seeds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from orchestrator.leaderboard.sample import Floats
from orchestrator.leaderboard.statistics.clusters import variance_floor
from orchestrator.leaderboard.statistics.estimate import Estimate
from orchestrator.leaderboard.statistics.satterthwaite import variance_and_degrees

Singles = NDArray[np.float32]
CHUNK_NUMBERS = 500_000
"""Numbers of the largest array of a chunk of draws, so that memory does not grow with the draws."""
THREADS = 2


class TaskDraws:
    """What the contrasts need of one task. Rows share its examples; their seeds are their own.

    Args:
        estimates: one per row.
        weights_CR: what each row counts in each contrast.
    """

    def __init__(self, estimates: Sequence[Estimate], weights_CR: Floats) -> None:
        self.estimates, self.clusters = estimates, estimates[0].clusters
        self._weights_RC, self._squared_RC = weights_CR.T, weights_CR.T**2
        influence_GR = np.stack([estimate.influence_G for estimate in estimates], axis=1)
        influence_GC = influence_GR @ self._weights_RC
        # Examples are paired: what counts is by how much a cluster differs between the rows.
        self._floor_C = variance_floor(influence_GC, estimates[0].share)
        self.variance_C = np.maximum(influence_GC.var(axis=0, ddof=1) / self.clusters, self._floor_C)
        self._influence_GR, self._squares_GC = influence_GR.astype(np.float32), (influence_GC**2).astype(np.float32)

    def draw(self, draws: int, random: np.random.Generator) -> tuple[Floats, Floats]:
        """Draw clusters, shared by all rows, and seeds of each row.

        Returns:
            By how much each contrast deviates from its observed value, (B, C), and its variance as that draw alone shows it, (B, C).
        """
        weights_BG = _counts(draws, self.clusters, random)
        rows = [_row(estimate, weights_BG, random) for estimate in self.estimates]
        deviation_BR, seed_variance_BR = (np.stack(part, axis=1) for part in zip(*rows, strict=True))
        mean_BC = (weights_BG @ self._influence_GR / self.clusters).astype(np.float64) @ self._weights_RC
        variance_BC = (weights_BG @ self._squares_GC / self.clusters - mean_BC**2) / (self.clusters - 1)
        return deviation_BR @ self._weights_RC, np.maximum(variance_BC, self._floor_C) + seed_variance_BR @ self._squared_RC


def _counts(draws: int, clusters: int, random: np.random.Generator) -> Singles:
    """Return how often each cluster was drawn, (B, G), when as many are drawn with replacement as there are."""
    drawn_BG = random.integers(0, clusters, (draws, clusters))
    drawn_BG += np.arange(draws)[:, None] * clusters
    return np.bincount(drawn_BG.ravel(), minlength=draws * clusters).reshape(draws, clusters).astype(np.float32)


def _row(estimate: Estimate, weights_BG: Singles, random: np.random.Generator) -> tuple[Floats, Floats]:
    """Return by how much a row's score deviates in each draw, (B,), and the variance that its seeds show in that draw, (B,)."""
    deviation_BS = estimate.scorer.draw(weights_BG) - estimate.scores_S
    if not estimate.trained:
        return deviation_BS.mean(1), np.zeros(len(deviation_BS))
    # Normal effects of the estimated variance: of three to five seeds that are drawn with replacement, many coincide.
    deviation_BS += np.sqrt(estimate.seed_variance * estimate.seeds) * random.standard_normal(deviation_BS.shape)
    return deviation_BS.mean(1), np.maximum(deviation_BS.var(1, ddof=1) / estimate.seeds - estimate.residual, 0.0)


class Contrasts:
    """Weighted sums of rows, averaged over tasks, with standard errors and Satterthwaite's degrees of freedom.

    Args:
        tasks: for each task, one estimate per row.
        weights_CR: what each row counts in each contrast.
    """

    def __init__(self, tasks: Sequence[Sequence[Estimate]], weights_CR: Floats) -> None:
        self._tasks = [TaskDraws(estimates, weights_CR) for estimates in tasks]
        self._weights_CR = weights_CR
        scores_TR = np.array([[estimate.score for estimate in estimates] for estimates in tasks])
        self.values_C: Floats = weights_CR @ scores_TR.mean(0)
        found = np.array([variance_and_degrees(self._terms(c)) for c in range(len(weights_CR))])
        self.errors_C: Floats = np.sqrt(found[:, 0])
        self.degrees_C: Floats = found[:, 1]

    def _terms(self, c: int) -> Iterator[tuple[float, int]]:
        scale = len(self._tasks) ** 2
        for task in self._tasks:
            yield float(task.variance_C[c]) / scale, task.clusters - 1
            for weight, estimate in zip(self._weights_CR[c].tolist(), task.estimates, strict=True):
                if weight:
                    yield from ((weight**2 * term / scale, degrees) for term, degrees in estimate.seed_terms)

    def draws(self, resamples: int, seed: int) -> Iterator[Floats]:
        """Give studentised deviations, (B, C), in chunks of together `resamples` draws; infinite where a metric is not defined.

        Every chunk has a generator of its own, so that the number of threads changes nothing.
        """
        widest = max(*(task.clusters for task in self._tasks), len(self._weights_CR))
        size = max(16, min(resamples, CHUNK_NUMBERS // widest))
        sizes = [min(size, resamples - start) for start in range(0, resamples, size)]
        generators = [np.random.default_rng(child) for child in np.random.SeedSequence(seed).spawn(len(sizes))]
        # Threads of the linear algebra beneath these would only wait for one another.
        with threadpool_limits(1, user_api="blas"), ThreadPoolExecutor(THREADS) as pool:
            yield from pool.map(self._chunk, sizes, generators)

    def _chunk(self, draws: int, random: np.random.Generator) -> Floats:
        deviation_BC, variance_BC = np.zeros((2, draws, len(self._weights_CR)))
        for task in self._tasks:
            deviation, variance = task.draw(draws, random)
            deviation_BC += deviation
            variance_BC += variance
        studentised_BC = deviation_BC / np.sqrt(variance_BC)
        return np.where(np.isnan(studentised_BC), np.inf, studentised_BC)


def differences(rows: int) -> tuple[list[tuple[int, int]], Floats]:
    """Return all pairs of rows, and the contrasts that are their differences, (C, R)."""
    pairs = list(combinations(range(rows), 2))
    weights_CR = np.zeros((len(pairs), rows))
    for c, (a, b) in enumerate(pairs):
        weights_CR[c, a], weights_CR[c, b] = 1.0, -1.0
    return pairs, weights_CR
