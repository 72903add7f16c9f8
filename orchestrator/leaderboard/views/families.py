"""The families of comparisons: all pairs of rows of a base model, on average and per task, and of every parameter budget."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.cells import row_name
from orchestrator.leaderboard.analysis import Family, Pair
from orchestrator.leaderboard.report_runs import cell_of_row
from orchestrator.leaderboard.row import Row
from orchestrator.leaderboard.sample import Sample
from orchestrator.leaderboard.samples import Samples
from orchestrator.leaderboard.statistics.comparisons import PairResult, compare
from orchestrator.recorded import RecordedSweep

MARGIN = 0.01
"""A row is non-inferior to another one that it is at most so much worse than."""
RESAMPLES = 10_000


def families_of(sweep: RecordedSweep, rows: Sequence[Row], samples: Samples) -> tuple[Family, ...]:
    """Return the families of every base model that has at least two rows to compare.

    A row takes part with predictions on all tasks of the family, and enough seeds of what is trained.
    """
    return tuple(family for model in dict.fromkeys(row.model for row in rows) for family in _of_model(sweep, model, rows, samples))


def overall(families: Sequence[Family], model: str) -> Family | None:
    """Return the family of all rows of a model on average; None where there is none."""
    return next((family for family in families if (family.model, family.task, family.budget) == (model, None, None)), None)


def _of_model(sweep: RecordedSweep, model: str, rows: Sequence[Row], samples: Samples) -> Iterator[Family]:
    tasks = [planned.task for planned in sweep.plan.base_trials if planned.model == model]
    own = [row for row in rows if row.model == model]
    scored = [row for row in own if row.average is not None]
    average = _family(f"all pairs of {model} on average", scored, tasks, samples)
    if average:
        yield average
    for task in tasks:
        name = f"all pairs of {model} on {task}"
        if len(tasks) == 1 and average:
            yield average.model_copy(update={"name": name, "task": task})
        elif len(tasks) > 1:
            found = _family(name, [row for row in own if task in row.tasks and row.tasks[task].metrics], [task], samples)
            if found:
                yield found.model_copy(update={"task": task})
    for budget in sorted({budget for cell, budgets in sweep.budgets.items() if cell.model == model for budget in budgets}):
        solved = [row for row in scored if any(budget in sweep.budgets.get(cell_of_row(row, task), ()) for task in row.tasks)]
        found = _family(f"all pairs of {model} at {budget:,} parameters on average", solved, tasks, samples)
        if found:
            yield found.model_copy(update={"budget": budget})


def _family(name: str, rows: Sequence[Row], tasks: Sequence[str], samples: Samples) -> Family | None:
    """Compare rows of one model; None where fewer than two can be compared."""
    found: dict[str, Sequence[Sample]] = {}
    left_out: dict[str, str] = {}
    for row in rows:
        known = samples.main(row, tasks)
        if known is None:
            left_out[row_name(row.method, row.capacity)] = _reason(row, tasks, samples)
        else:
            found[row_name(row.method, row.capacity)] = known
    if len(found) < 2:
        return None
    pairs = compare(found, margin=MARGIN, resamples=RESAMPLES)
    return Family(
        name=name,
        model=rows[0].model,
        task=None,
        margin=MARGIN,
        resamples=RESAMPLES,
        pairs=tuple(map(_pair, pairs)),
        left_out=left_out,
    )


def _pair(found: PairResult) -> Pair:
    # A board of a hundred rows has thousands of pairs: digits that mean nothing would make most of its JSON.
    low, high = (round(end, 6) for end in found.ci)
    difference, p = round(found.difference, 6), float(f"{found.p:.4g}")
    return Pair(a=found.a, b=found.b, difference=difference, ci=(low, high), p=p, verdict=found.verdict)


def _reason(row: Row, tasks: Sequence[str], samples: Samples) -> str:
    name = row_name(row.method, row.capacity)
    found = {task: samples.left_out[row.model, name, task] for task in tasks if (row.model, name, task) in samples.left_out}
    return "; ".join(f"{task}: {reason}" for task, reason in found.items()) or "no predictions"
