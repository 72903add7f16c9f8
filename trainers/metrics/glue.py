"""The metrics of GLUE: accuracy of classes, and the correlations of STS-B.

Source: `glue.py` of huggingface/evaluate, which computes them with scikit-learn and scipy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import pearsonr, spearmanr

from search_spaces.errors import DataError
from trainers.api import Scores


def accuracy(prediction: Any, reference: Any) -> dict[str, float]:
    """Score one predicted class.

    Raises:
        DataError: prediction or reference is not the index of a class.
    """
    for value in (prediction, reference):
        if isinstance(value, bool) or not isinstance(value, int):
            raise DataError(f"{value!r} is not the index of a class. Valid: a whole number")
    return {"accuracy": float(prediction == reference)}


def correlations(predictions: Sequence[Any], references: Sequence[Any]) -> Scores:
    """Score predicted numbers by Pearson's and Spearman's correlation with the right ones, ties at their average rank.

    Returns:
        Values in -1..1; NaN where one side is constant, for which a correlation is not defined.

    Raises:
        DataError: the two differ in length, hold fewer than two numbers, or something else than numbers.
    """
    if len(predictions) != len(references):
        raise DataError(f"{len(predictions)} predictions for {len(references)} references: there must be one for each")
    if len(predictions) < 2:
        raise DataError("there is nothing to score: a correlation needs two predictions at least")
    given, right = (_numbers(values) for values in (predictions, references))
    defined = np.ptp(given) > 0 and np.ptp(right) > 0
    pearson, spearman = (float(measure(given, right)[0]) if defined else math.nan for measure in (pearsonr, spearmanr))
    return Scores(metrics={"pearson": pearson, "spearman": spearman}, rows=None, count=len(predictions))


def _numbers(values: Sequence[Any]) -> np.ndarray[Any, np.dtype[np.float64]]:
    for value in values:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise DataError(f"{value!r} is not a number. Valid: a finite number")
    return np.array(values, dtype=np.float64)
