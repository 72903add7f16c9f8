"""How the rows of a base model order over the tasks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from orchestrator.cells import row_name
from orchestrator.leaderboard.analysis import AcrossTasks
from orchestrator.leaderboard.row import Row
from orchestrator.leaderboard.statistics.across import average_ranks, friedman_p

ENOUGH_TASKS = 10
"""Fewer say too little of how tasks differ for Friedman's test to be shown."""


def across_tasks(rows: Sequence[Row]) -> tuple[AcrossTasks, ...]:
    """Return the average ranks of the rows with all tasks, for every base model that has such rows."""
    found = []
    for model in dict.fromkeys(row.model for row in rows):
        complete = [row for row in rows if row.model == model and row.average is not None]
        if complete:
            found.append(_across(model, complete))
    return tuple(found)


def _across(model: str, rows: Sequence[Row]) -> AcrossTasks:
    scores_RT = np.array([[score.metrics[score.main].mean for score in row.tasks.values()] for row in rows])
    names = [row_name(row.method, row.capacity) for row in rows]
    enough = scores_RT.shape[1] >= ENOUGH_TASKS and len(rows) > 1
    return AcrossTasks(
        model=model,
        average_ranks=dict(average_ranks(scores_RT, names)),
        friedman_p=friedman_p(scores_RT, seed=0) if enough else None,
    )
