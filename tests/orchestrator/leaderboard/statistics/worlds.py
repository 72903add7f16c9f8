"""Simulated sweeps whose true scores are known.

A seed predicts an example rightly where a latent number is positive: quality + difficulty of the example and of its cluster + what is
special to the row + luck of the seed + what is left. All are normal, so that the truth is known, up to an integral over seeds.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy import stats

from orchestrator.leaderboard.sample import Sample

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(61)
WEIGHTS = WEIGHTS / WEIGHTS.sum()
ROWS_OWN, LEFT = 0.4, 0.5


def accuracy(
    random: np.random.Generator, *, seeds: int, examples: int, luck: float, quality: float = 1.0, cluster: float = 0.0, size: int = 1
) -> tuple[Sample, float]:
    """Return a row on one task, with its true accuracy; clusters of 1 to 2 size - 1 examples share a part of their difficulty."""
    groups_N = np.repeat(np.arange(examples), random.integers(1, 2 * size, examples))[:examples]
    passage_N = cluster * random.normal(size=examples)[groups_N]
    fixed_N = quality + random.normal(size=examples) + passage_N
    latent_SN = fixed_N + luck * random.normal(size=(seeds, 1)) + LEFT * random.normal(size=(seeds, examples))
    spread = np.sqrt(1 + cluster**2 + luck**2 + LEFT**2)
    return Sample("accuracy", groups_N, (latent_SN > 0).astype(float)), float(stats.norm.cdf(quality / spread))


def classes(
    random: np.random.Generator, metric: str, *, seeds: int, examples: int, luck: float, quality: float = 1.2, share: float = 0.3
) -> tuple[Sample, float]:
    """Return a row that predicts one of two classes, with its true F1 or Matthews correlation, averaged over all seeds there could be."""
    right_N = (random.random(examples) < share).astype(int)
    sides_N = np.where(right_N == 1, quality, -quality)
    latent_SN = (
        sides_N + random.normal(size=examples) + luck * random.normal(size=(seeds, 1)) + LEFT * random.normal(size=(seeds, examples))
    )
    spread = np.hypot(1, LEFT)
    tp, fp = share * stats.norm.cdf((quality + luck * NODES) / spread), (1 - share) * stats.norm.cdf((luck * NODES - quality) / spread)
    fn, tn = share - tp, 1 - share - fp
    truths = {"f1": 2 * tp / (2 * tp + fp + fn), "mcc": (tp * tn - fp * fn) / np.sqrt((tp + fp) * (tp + fn) * (tn + fp) * (tn + fn))}
    return Sample(metric, np.arange(examples), predictions_SN=(latent_SN > 0).astype(int), references_N=right_N), float(
        truths[metric] @ WEIGHTS
    )


def numbers(random: np.random.Generator, metric: str, *, seeds: int, examples: int, luck: float) -> tuple[Sample, float]:
    """Return a row that predicts numbers, with its true correlation, averaged over all seeds there could be."""
    right_N = random.normal(size=examples)
    slopes_S1 = 1 + luck * random.normal(size=(seeds, 1))
    given_SN = slopes_S1 * right_N + 0.4 * random.normal(size=examples) + 0.3 * random.normal(size=(seeds, examples))
    slopes = 1 + luck * NODES
    truth = slopes / np.sqrt(slopes**2 + 0.4**2 + 0.3**2)
    if metric == "spearman":
        truth = 6 / np.pi * np.arcsin(truth / 2)  # Of the bivariate normal distribution (Pearson 1907).
    return Sample(metric, np.arange(examples), predictions_SN=given_SN, references_N=right_N), float(truth @ WEIGHTS)


def equal_rows(
    random: np.random.Generator,
    *,
    rows: int,
    seeds: int,
    examples: int,
    luck: float | list[float],
    tasks: int = 1,
    metric: str = "accuracy",
    untuned: bool = False,
) -> dict[str, list[Sample]]:
    """Return rows that all have the same true score, though each is better on examples of its own; the first one may be untuned."""
    lucks = np.broadcast_to(luck, rows)
    found: dict[str, list[Sample]] = {f"row-{row}": [] for row in range(rows)}
    for _ in range(tasks):
        difficulty_N, right_N = random.normal(size=examples), random.integers(0, 2, examples)
        for row, luck_of_row in enumerate(lucks):
            trained = not (untuned and row == 0)
            # What an untuned row lacks in luck is special to it, so that its score is the same.
            own = ROWS_OWN if trained else np.sqrt(ROWS_OWN**2 + luck_of_row**2 + LEFT**2)
            latent_SN = np.sqrt(1 + ROWS_OWN**2 + luck_of_row**2 + LEFT**2) + difficulty_N + own * random.normal(size=(1, examples))
            if trained:
                latent_SN = latent_SN + luck_of_row * random.normal(size=(seeds, 1)) + LEFT * random.normal(size=(seeds, examples))
            found[f"row-{row}"].append(_sample(metric, latent_SN > 0, right_N, trained))
    return found


def _sample(metric: str, correct_SN: Any, right_N: Any, trained: bool) -> Sample:
    groups_N = np.arange(len(right_N))
    if metric == "accuracy":
        return Sample(metric, groups_N, values_SN=correct_SN.astype(float), trained=trained)
    return Sample(metric, groups_N, predictions_SN=np.where(correct_SN, right_N, 1 - right_N), references_N=right_N, trained=trained)
