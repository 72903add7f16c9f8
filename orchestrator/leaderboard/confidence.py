"""The rows of a board with their confidence intervals, ties and rank intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from orchestrator.cells import row_name
from orchestrator.leaderboard.analysis import AcrossTasks, Family
from orchestrator.leaderboard.row import Interval, Row
from orchestrator.leaderboard.samples import Samples
from orchestrator.leaderboard.statistics.intervals import row_intervals
from orchestrator.leaderboard.statistics.ties import letters, rank_intervals
from orchestrator.leaderboard.views.families import overall

Scores = dict[tuple[str, str], dict[str, Interval | None]]
"""Task and metric -> number of the row -> interval."""


def with_intervals(rows: Sequence[Row], samples: Samples) -> list[Row]:
    """Return the rows with the intervals of their scores and averages, where there are enough seeds and predictions."""
    scores: Scores = {}
    for task, metric in dict.fromkeys((task, metric) for row in rows for task, score in row.tasks.items() for metric in score.metrics):
        known = {str(number): samples.of(row, task).get(metric) for number, row in enumerate(rows)}
        scores[task, metric] = row_intervals({number: [sample] for number, sample in known.items() if sample is not None})
    several = {str(number): samples.main(row, list(row.tasks)) for number, row in enumerate(rows) if row.average is not None}
    averages = row_intervals({number: known for number, known in several.items() if known and len(known) > 1})
    return [_with_intervals(row, str(number), scores, averages) for number, row in enumerate(rows)]


def with_ties(rows: Sequence[Row], families: Sequence[Family]) -> list[Row]:
    """Return the rows with tie letters and rank intervals, from the comparisons on average of all rows of their model.

    A ranked row that could not be compared may stand anywhere, so it widens the others' rank intervals and has none itself.
    """
    found = list(rows)
    for model in dict.fromkeys(row.model for row in rows):
        family = overall(families, model)
        if family is None:
            continue
        ranked = [row_name(row.method, row.capacity) for row in rows if row.model == model and row.rank is not None]
        compared = [name for name in ranked if name not in family.left_out]
        shared, places = letters(compared, family.pairs), rank_intervals(compared, family.pairs)
        spare = len(ranked) - len(compared)
        for number, row in enumerate(found):
            name = row_name(row.method, row.capacity)
            if row.model == model and name in places:
                low, high = places[name]
                found[number] = row.model_copy(update={"tie_letters": shared[name], "rank_interval": (low, high + spare)})
    return found


def with_average_ranks(rows: Sequence[Row], across: Sequence[AcrossTasks]) -> list[Row]:
    """Return the rows with their average ranks."""
    ranks = {(found.model, name): rank for found in across for name, rank in found.average_ranks.items()}
    return [row.model_copy(update={"average_rank": ranks.get((row.model, row_name(row.method, row.capacity)))}) for row in rows]


def _with_intervals(row: Row, number: str, scores: Scores, averages: Mapping[str, Interval | None]) -> Row:
    tasks = {}
    for task, score in row.tasks.items():
        metrics = {name: metric.model_copy(update={"ci": scores[task, name].get(number)}) for name, metric in score.metrics.items()}
        tasks[task] = score.model_copy(update={"metrics": metrics})
    average = averages.get(number)
    if len(tasks) == 1 and row.average is not None:
        (only,) = tasks.values()
        average = only.metrics[only.main].ci
    return row.model_copy(update={"tasks": tasks, "average_ci": average})
