"""The examples of a test split as one run was scored on them, ordered by their ids."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from orchestrator.leaderboard.sample import Floats, Integers, Sample
from search_spaces.errors import DataError

TOLERANCE = 1e-6
"""Largest difference of a recorded metric and the mean of its rows: the order of a sum may differ."""


@dataclass(frozen=True, eq=False)
class ScoredExamples:
    """What one run scored and predicted. N examples."""

    ids: pa.Array
    groups_N: Integers
    values: Mapping[str, Floats]
    """Metric -> its value on every example."""
    predictions_N: Floats | None
    """Predicted numbers or classes; None where texts are predicted."""
    references_N: Floats | None
    """What is right, where that is a number or a class and was recorded."""


def scored_examples(table: pa.Table, scores: Mapping[str, float]) -> ScoredExamples:
    """Return the predictions of a run in the order of their ids.

    Args:
        table: as `Evidence.test` describes it.
        scores: the run's recorded test metrics. One that has a column of its name is the mean of it.

    Raises:
        DataError: there are no predictions, one stands twice, or they contradict the recorded metrics.
    """
    ordered = table.sort_by("id")
    ids = ordered["id"].cast(pa.string()).combine_chunks()
    if not len(ids):
        raise DataError("no predictions on the test split")
    if ids.null_count or len(ids.unique()) < len(ids):
        raise DataError("an example has no id, or two predictions")
    values = {name: _numbers(ordered[name]) for name in scores if name in table.column_names}
    for name, column in values.items():
        if column is None:
            raise DataError(f"a value of {name} is no number")
        if not math.isclose(mean := float(column.mean()), scores[name], rel_tol=0, abs_tol=TOLERANCE):
            raise DataError(f"the predictions have a mean {name} of {mean:.6f}, where the run says {scores[name]:.6f}")
    known = {name: column for name, column in values.items() if column is not None}
    references = _numbers(ordered["reference"]) if "reference" in table.column_names else None
    return ScoredExamples(ids, _groups(ordered, ids), known, _numbers(ordered["prediction"]), references)


def stacked(metric: str, tables: Sequence[ScoredExamples], *, trained: bool) -> Sample:
    """Return a metric of several runs on the same examples as a Sample."""
    groups_N = tables[0].groups_N
    if all(metric in table.values for table in tables):
        return Sample(metric, groups_N, values_SN=np.stack([table.values[metric] for table in tables]), trained=trained)
    predictions = [table.predictions_N for table in tables if table.predictions_N is not None]
    predictions_SN = np.stack(predictions) if len(predictions) == len(tables) else None
    return Sample(metric, groups_N, predictions_SN=predictions_SN, references_N=_shared(tables), trained=trained)


def _shared(tables: Sequence[ScoredExamples]) -> Floats | None:
    """Return what is right; None where a run does not tell, or tells otherwise."""
    known = [table.references_N for table in tables if table.references_N is not None]
    same = len(known) == len(tables) and all(np.array_equal(known[0], other_N) for other_N in known[1:])
    return known[0] if same else None


def _groups(table: pa.Table, ids: pa.Array) -> Integers:
    """Return the cluster of every example; one without a group is its own."""
    groups = pc.coalesce(table["group"].cast(pa.string()).combine_chunks(), ids) if "group" in table.column_names else ids
    return np.asarray(groups.dictionary_encode().indices.to_numpy(zero_copy_only=False), dtype=np.int64)


def _numbers(column: pa.ChunkedArray) -> Floats | None:
    """Return a column as numbers; None where it holds something else, or something that is not finite."""
    kind = column.type
    if not (pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)) or column.null_count:
        return None
    found = np.asarray(column.cast(pa.float64()).to_numpy(), dtype=np.float64)
    return found if np.isfinite(found).all() else None
