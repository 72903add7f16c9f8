"""Metrics that are means over rows: one function scores a row, the whole is the mean."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from search_spaces.errors import DataError
from trainers.api import Scores


def score_rows(metric: Callable[[Any, Any], dict[str, float]], predictions: Sequence[Any], references: Sequence[Any]) -> Scores:
    """Score every row and take the means.

    Args:
        metric: gives a row's values, under the same names for every row.
        predictions: one per row.
        references: what each prediction is scored against, in the same order.

    Raises:
        DataError: the two differ in length, there is no row, or a row cannot be scored.
    """
    if len(predictions) != len(references):
        raise DataError(f"{len(predictions)} predictions for {len(references)} references: there must be one for each")
    if not predictions:
        raise DataError("there is nothing to score: no predictions were given")
    rows = [metric(prediction, reference) for prediction, reference in zip(predictions, references, strict=True)]
    means = {name: math.fsum(row[name] for row in rows) / len(rows) for name in rows[0]}
    return Scores(metrics=means, rows=rows, count=len(rows))
