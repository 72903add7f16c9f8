"""What a trial predicted, as a table."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from trainers.api import Example, Prediction


def prediction_table(
    split: str, examples: tuple[Example, ...], predictions: list[Prediction], rows: list[dict[str, float]] | None
) -> pa.Table:
    """Return a split's predictions, with `reference` where what is right is one value per example, and the metrics that rows have."""
    columns: dict[str, Any] = {
        "split": [split] * len(examples),
        "id": [e.id for e in examples],
        "group": [e.group for e in examples],
        "prediction": predictions,
    }
    references = [e.references for e in examples]
    if _scalars(references):
        columns["reference"] = references
    for name in rows[0] if rows else ():
        columns[name] = [float(row[name]) for row in rows or ()]
    return pa.table(columns)


def _scalars(values: list[Any]) -> bool:
    """Whether the values are all texts, or all numbers that a double holds exactly."""
    kinds = {type(value) for value in values}
    return kinds == {str} or (bool(kinds) and kinds <= {int, float} and all(abs(value) <= 2**53 for value in values))
