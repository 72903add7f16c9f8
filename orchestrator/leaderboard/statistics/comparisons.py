"""Which rows are told apart: all pairs of a family tested together, examples paired, seeds not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy import stats

from orchestrator.leaderboard.analysis import Verdict
from orchestrator.leaderboard.sample import Sample
from orchestrator.leaderboard.statistics.contrasts import Contrasts, differences
from orchestrator.leaderboard.statistics.estimate import Estimate, lacking
from orchestrator.leaderboard.statistics.max_t import MaxT
from search_spaces.errors import DataError


@dataclass(frozen=True)
class PairResult:
    """Two rows of a family."""

    a: str
    b: str
    difference: float
    """Score of a minus that of b, on average over the tasks."""
    ci: tuple[float, float]
    """Simultaneous over the family."""
    p: float
    """Adjusted for the family."""
    verdict: Verdict
    """Of a against b."""


def compare(
    samples: Mapping[str, Sequence[Sample]],
    *,
    margin: float = 0.01,
    level: float = 0.95,
    resamples: int = 10_000,
    seed: int = 0,
) -> tuple[PairResult, ...]:
    """Test all pairs of rows, on average over their tasks.

    Each draw takes clusters of examples, the same for all rows and seeds of a task, and seeds for each row and task. The differences are
    studentised by the standard error as estimated from that draw. p is adjusted by step-down max-t, (k + 1) / (B + 1) (Romano & Wolf
    2005, Exact and approximate stepdown methods for multiple hypothesis testing; Phipson & Smyth 2010), intervals by single-step max-t.
    Neither is ever sharper than Satterthwaite's t for one pair alone, since draws of a handful of clusters know no tails.

    Args:
        samples: row -> one sample per task; all rows have the same tasks, examples and clusters in the same order.
        margin: how much worse a row may be and still count as non-inferior.
        level: of the whole family.
        resamples: draws.

    Returns:
        The pairs (a before b in the order of the rows); none for fewer than two rows. Where a zero difference is excluded by p, the
        interval may still hold it: it is single-step.

    Raises:
        DataError: a row lacks what a test needs (`estimate.lacking`), or the rows differ in tasks or examples.
    """
    _check(samples)
    if len(samples) < 2 or not next(iter(samples.values())):
        return ()
    pairs, weights_CR = differences(len(samples))
    contrasts = Contrasts([[Estimate(sample) for sample in task] for task in zip(*samples.values(), strict=True)], weights_CR)
    statistics_C = np.abs(contrasts.values_C / contrasts.errors_C)
    family = MaxT(statistics_C)
    for chunk_BC in contrasts.draws(resamples, seed):
        family.add(chunk_BC)
    alone_C = 2 * stats.t.sf(statistics_C, contrasts.degrees_C)
    reach_C = np.maximum(family.quantile(level), stats.t.ppf((1 + level) / 2, contrasts.degrees_C)) * contrasts.errors_C
    names, p_C = list(samples), family.p_values(alone_C)
    return tuple(
        _result(names[a], names[b], difference, reach, p, margin, level)
        for (a, b), difference, reach, p in zip(pairs, contrasts.values_C.tolist(), reach_C.tolist(), p_C.tolist(), strict=True)
    )


def _result(a: str, b: str, difference: float, reach: float, p: float, margin: float, level: float) -> PairResult:
    low, high = difference - reach, difference + reach
    verdict: Verdict = "non-inferior" if low > -margin else "inconclusive"
    if p <= 1 - level:
        verdict = "better" if difference > 0 else "worse"
    return PairResult(a, b, difference, (low, high), p, verdict)


def _check(samples: Mapping[str, Sequence[Sample]]) -> None:
    first = next(iter(samples.values()), ())
    for row, tasks in samples.items():
        for task, sample in enumerate(tasks):
            if why := lacking(sample):
                raise DataError(f"row {row!r} cannot be compared on task {task}: {why}. Fix: leave the row out of the family")
        if len(tasks) != len(first) or not all(map(_same_examples, tasks, first)):
            raise DataError(f"row {row!r} does not have the tasks and examples of row {next(iter(samples))!r}: pairs need the same")


def _same_examples(one: Sample, other: Sample) -> bool:
    return one.metric == other.metric and np.array_equal(one.groups_N, other.groups_N)
