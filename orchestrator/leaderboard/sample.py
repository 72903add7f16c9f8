"""A sample: what one row's report runs scored on the examples of one task's test split. What every estimator starts from.

Shapes: S seeds, N examples.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Sample:
    """One metric of one row on one task.

    Seeds and examples are crossed: every seed was scored on the same examples, in the same order.
    """

    metric: str
    groups_N: Integers
    """The cluster of each example, 0..G-1, such as the passage that several questions share."""
    values_SN: Floats | None = None
    """What each seed scored on each example, where the metric is the mean of that; else None."""
    predictions_SN: NDArray[Any] | None = None
    """What each seed predicted, where the metric has to be computed anew of all examples together (F1, MCC, correlations)."""
    references_N: NDArray[Any] | None = None
    """What is right, for such a metric."""
    trained: bool = True
    """False for the untuned model: it has one run, and no seed changes it."""

    @property
    def seeds(self) -> int:
        """Report runs."""
        table = self.values_SN if self.values_SN is not None else self.predictions_SN
        return 0 if table is None else len(table)
