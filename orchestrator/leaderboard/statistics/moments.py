"""Metrics that are smooth functions of sums over the examples: means, F1, Matthews correlation, Pearson's correlation.

A draw of clusters changes only the sums, so that the metric of all draws and seeds takes one matrix product; its derivative by the sums
gives the influence of each cluster. Shapes: K sums, else as in the package.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.leaderboard.sample import Floats, Integers
from orchestrator.leaderboard.statistics.clusters import totals

Formula = Callable[[Any, Any], Any]
"""(sums of each seed, sums that all seeds share) -> scores; each sum is an array, real or complex."""
STEP = 1e-20
"""Imaginary step of the derivative: so small that its square vanishes."""


class Moments:
    """One row's metric on one task, as a formula of sums.

    Args:
        formula: gives the metric; it does not change when all sums are multiplied by a number.
        own_KSN: what is summed, of each seed.
        shared_KN: what is summed, the same for all seeds.
    """

    def __init__(self, formula: Formula, own_KSN: Floats, shared_KN: Floats, groups_N: Integers) -> None:
        self._formula = formula
        own_KSG, shared_KG = totals(own_KSN, groups_N), totals(shared_KN, groups_N)
        self._own, self._seeds = len(own_KSG), own_KSG.shape[1]
        columns = np.concatenate([own_KSG.reshape(-1, own_KSG.shape[-1]), shared_KG])
        self._columns_GX = np.ascontiguousarray(columns.T, dtype=np.float32)
        own_KS, shared_K1 = np.asarray(own_KSG.sum(-1)), np.asarray(shared_KG.sum(-1))[:, None]
        self.scores_S: Floats = np.broadcast_to(formula(own_KS, shared_K1), own_KS.shape[1:]).copy()
        self.influence_SG = self._influence(own_KSG, shared_KG, own_KS, shared_K1)

    def draw(self, weights_BG: NDArray[np.float32]) -> Floats:
        """Return the metric of each seed, (B, S), where each cluster counts as often as it was drawn."""
        sums_BX = (weights_BG @ self._columns_GX).astype(np.float64)
        edge = self._own * self._seeds
        own_KBS = sums_BX[:, :edge].reshape(-1, self._own, self._seeds).swapaxes(0, 1)
        return np.asarray(self._formula(own_KBS, sums_BX[:, edge:].T[:, :, None]), dtype=np.float64)

    def _influence(self, own_KSG: Floats, shared_KG: Floats, own_KS: Floats, shared_K1: Floats) -> Floats:
        """Return G times the derivative of the metric by the weight of each cluster, by complex steps (Squire & Trapp 1998)."""
        influence_SG: Floats = np.zeros(own_KSG.shape[1:])
        for k, sums_SG in enumerate(own_KSG):
            slope_S = self._formula(own_KS + _step(len(own_KS), k), shared_K1).imag / STEP
            influence_SG += np.multiply(slope_S[:, None], sums_SG)
        for k, sums_G in enumerate(shared_KG):
            slope_S = self._formula(own_KS, shared_K1 + _step(len(shared_K1), k)).imag / STEP
            influence_SG += np.multiply.outer(slope_S, sums_G)
        return np.asarray(np.nan_to_num(influence_SG) * float(len(influence_SG[0])))


def _step(count: int, k: int) -> NDArray[np.complex128]:
    step_K1 = np.zeros((count, 1), dtype=np.complex128)
    step_K1[k] = 1j * STEP
    return step_K1


def mean(values_SN: Floats, groups_N: Integers) -> Moments:
    """Return the mean over examples: where clusters differ in size, a ratio of two sums over clusters.

    Source: Cochran 1977, Sampling Techniques, whose ratio estimator has the same linearised variance.
    """
    return Moments(lambda own, shared: own[0] / shared[0], values_SN[None], np.ones((1, values_SN.shape[1])), groups_N)


def f1(predictions_SN: NDArray[Any], references_N: NDArray[Any], groups_N: Integers) -> Moments:
    """Return the F1 of class 1, which is 0 where no example and no prediction is of it."""
    positive_SN, right_N = predictions_SN == 1, references_N == 1
    return Moments(_f1, np.stack([positive_SN & right_N, positive_SN]).astype(float), right_N[None].astype(float), groups_N)


def _f1(own: Any, shared: Any) -> Any:
    return _ratio(2 * own[0], own[1] + shared[0])


def matthews(predictions_SN: NDArray[Any], references_N: NDArray[Any], groups_N: Integers) -> Moments:
    """Return Matthews correlation of two or more classes, which is 0 where one side is constant.

    Source: Gorodkin 2004, Comparing two K-category assignments by a K-category correlation coefficient.
    """
    classes = sorted({*predictions_SN.ravel().tolist(), *references_N.tolist()}, key=repr)
    right_SN = predictions_SN == references_N
    own = [right_SN, *(predictions_SN == one for one in classes)]
    shared = [np.ones(len(references_N)), *(references_N == one for one in classes)]
    return Moments(_matthews, np.stack(own).astype(float), np.stack(shared).astype(float), groups_N)


def _matthews(own: Any, shared: Any) -> Any:
    right, predicted, total, true = own[0], own[1:], shared[0], shared[1:]
    spread = (total**2 - (predicted**2).sum(0)) * (total**2 - (true**2).sum(0))
    return _ratio(right * total - (predicted * true).sum(0), np.sqrt(spread + 0j) if np.iscomplexobj(spread) else np.sqrt(spread))


def pearson(predictions_SN: NDArray[Any], references_N: NDArray[Any], groups_N: Integers) -> Moments:
    """Return Pearson's correlation, NaN where one side is constant."""
    x_SN, y_N = _standardised(predictions_SN), _standardised(references_N)
    return Moments(_pearson, np.stack([x_SN, x_SN**2, x_SN * y_N]), np.stack([np.ones_like(y_N), y_N, y_N**2]), groups_N)


def _pearson(own: Any, shared: Any) -> Any:
    (x, xx, xy), (total, y, yy) = own, shared
    spread = (total * xx - x * x) * (total * yy - y * y)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(spread.real > 1e-9 * total.real**4, (total * xy - x * y) / np.sqrt(spread), np.nan)


def _standardised(values: NDArray[Any]) -> Floats:
    """Shift and scale, which no correlation sees, so that sums in single precision keep their digits."""
    numbers = np.asarray(values, dtype=np.float64)
    spread = numbers.std(-1, keepdims=True)
    return np.asarray((numbers - numbers.mean(-1, keepdims=True)) / np.where(spread > 0, spread, 1.0))


def _ratio(top: Any, bottom: Any) -> Any:
    """Divide; 0 where the divisor is 0."""
    empty = bottom.real <= 0
    return np.where(empty, 0.0, top / np.where(empty, 1.0, bottom))
