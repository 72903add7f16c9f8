"""Confidence intervals of a row's score. Conditional on the grid point that was selected: the selection is not repeated."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from scipy import stats

from orchestrator.leaderboard.sample import Sample
from orchestrator.leaderboard.statistics.contrasts import Contrasts
from orchestrator.leaderboard.statistics.estimate import Estimate, lacking
from orchestrator.leaderboard.statistics.satterthwaite import variance_and_degrees

Interval = tuple[float, float]


def interval(sample: Sample, *, level: float = 0.95, resamples: int = 10_000, seed: int = 0) -> Interval | None:
    """Return the confidence interval of a row's score on a task, as `row_intervals` does."""
    return average_interval([sample], level=level, resamples=resamples, seed=seed)


def average_interval(samples: Sequence[Sample], *, level: float = 0.95, resamples: int = 10_000, seed: int = 0) -> Interval | None:
    """Return the confidence interval of a row's mean over tasks, as `row_intervals` does; one sample per task."""
    return row_intervals({"": samples}, level=level, resamples=resamples, seed=seed)[""]


def row_intervals(
    samples: Mapping[str, Sequence[Sample]], *, level: float = 0.95, resamples: int = 10_000, seed: int = 0
) -> dict[str, Interval | None]:
    """Return the confidence interval of each row's mean over seeds and tasks. Seeds are independent between tasks.

    Means over examples: two-way variance components (seed, cluster) with Satterthwaite's degrees of freedom. Where a task has another
    metric: studentised draws of clusters and seeds, which rows of the same examples share. Where nothing varies: `unvaried`.

    Args:
        samples: row -> one sample per task.

    Returns:
        None below three seeds of a trained row, for one group of examples, for metrics that are not known or not defined
        (`estimate.lacking` says which), and without tasks.
    """
    found: dict[str, Interval | None] = dict.fromkeys(samples)
    drawn: dict[tuple[object, ...], dict[str, list[Estimate]]] = {}
    for row, tasks in samples.items():
        if not tasks or any(lacking(sample) for sample in tasks):
            continue
        estimates = [Estimate(sample) for sample in tasks]
        if all(estimate.constant for estimate in estimates):
            low, high = np.mean([unvaried(estimate, level) for estimate in estimates], axis=0).tolist()
            found[row] = low, high
        elif all(sample.values_SN is not None for sample in tasks):
            found[row] = _by_components(estimates, level)
        else:
            drawn.setdefault(_examples(tasks), {})[row] = estimates
    for rows in drawn.values():
        found |= _by_draws(rows, level, resamples, seed)
    return found


def _examples(tasks: Sequence[Sample]) -> tuple[object, ...]:
    """Return what rows must have in common to share draws."""
    return tuple((sample.metric, sample.groups_N.tobytes()) for sample in tasks)


def _by_components(estimates: Sequence[Estimate], level: float) -> Interval:
    scale = len(estimates)
    variance, degrees = variance_and_degrees((term / scale**2, degrees) for one in estimates for term, degrees in one.terms)
    score = float(np.mean([estimate.score for estimate in estimates]))
    return _within_range(estimates, score, float(stats.t.ppf((1 + level) / 2, degrees)) * variance**0.5)


def _by_draws(rows: Mapping[str, Sequence[Estimate]], level: float, resamples: int, seed: int) -> dict[str, Interval]:
    contrasts = Contrasts(list(zip(*rows.values(), strict=True)), np.eye(len(rows)))
    drawn_BC = np.abs(np.concatenate(list(contrasts.draws(resamples, seed))))
    # Draws of a handful of clusters know no tails.
    alone_C = stats.t.ppf((1 + level) / 2, contrasts.degrees_C)
    reach_C = np.maximum(np.quantile(drawn_BC, level, axis=0, method="higher"), alone_C) * contrasts.errors_C
    values = zip(contrasts.values_C.tolist(), reach_C.tolist(), strict=True)
    return {row: _within_range(estimates, *value) for (row, estimates), value in zip(rows.items(), values, strict=True)}


def _within_range(estimates: Sequence[Estimate], score: float, reach: float) -> Interval:
    lowest, highest = np.mean([estimate.range for estimate in estimates], axis=0).tolist()
    return max(score - reach, lowest), min(score + reach, highest)


def unvaried(estimate: Estimate, level: float = 0.95) -> Interval:
    """Return an interval where all seeds scored the same and no cluster differs from another.

    With confidence `level`, at most the share 1 - (1 - level)^(1/G) of all clusters would score otherwise than the G that were seen (for
    95 % about 3/G, the rule of three: Hanley & Lippman-Hand 1983); these may score anything in the metric's range.
    """
    share = 1 - (1 - level) ** (1 / estimate.clusters)
    lowest, highest = estimate.range
    return estimate.score + share * (lowest - estimate.score), estimate.score + share * (highest - estimate.score)


def binomial_interval(score: float, n: int, level: float = 0.95) -> Interval:
    """Return Wilson's interval of a proportion, for published figures of which only the number of test examples is known.

    Args:
        score: share of right examples, 0..1; the number of right ones is `score * n`, rounded.

    Raises:
        ValueError: `score` lies outside 0..1, or `n` is below 1.

    Source: Wilson 1927; recommended by Brown, Cai & DasGupta 2001 for its coverage.
    """
    if not 0 <= score <= 1 or n < 1:
        raise ValueError(f"a proportion of {n} examples cannot be {score!r}. Valid: 0 to 1, of 1 example or more")
    found = stats.binomtest(round(score * n), n).proportion_ci(level, method="wilson")
    return float(found.low), float(found.high)
