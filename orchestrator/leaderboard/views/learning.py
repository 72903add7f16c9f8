"""How the rows trained: training loss, and steps to reach a score. Apart from what they generalise."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.cells import row_name
from orchestrator.leaderboard.analysis import Learning
from orchestrator.leaderboard.report_runs import cell_of_row, report_runs
from orchestrator.leaderboard.row import Row
from orchestrator.leaderboard.samples import Evidence
from orchestrator.recorded import RecordedSweep
from search_spaces.trial import BASE

Curve = Sequence[tuple[int, float]]
LONGEST = 100
"""Points of a curve that is shown."""


def learning_of(sweep: RecordedSweep, rows: Iterable[Row], evidence: Evidence) -> tuple[Learning, ...]:
    """Return how every row trained in its report runs on every task; the untuned model does not."""
    found: list[Learning] = []
    scopes: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        for task in row.tasks if row.method != BASE else ():
            scopes.setdefault((row.model, task), []).append(row)
    for (_, task), group in scopes.items():
        courses = [(row, _course(sweep, row, task, evidence)) for row in group]
        target = _target([course for _, course in courses])
        found += [_learning(row, task, course, target) for row, course in courses if course.losses]
    return tuple(found)


@dataclass(frozen=True)
class _Course:
    """The curves of a row's report runs that finished."""

    losses: Sequence[Curve]
    scores: Sequence[Curve]
    """Of the main metric on the selection split."""
    complete: bool
    """Whether every planned seed is among them."""


def _course(sweep: RecordedSweep, row: Row, task: str, evidence: Evidence) -> _Course:
    runs = report_runs(sweep, cell_of_row(row, task))
    curves = [evidence.curves(run.record.run_id) for run in runs if run.record and run.status == "finished"]
    losses, scores = ([c[name] for c in curves if c.get(name)] for name in ("train/loss", f"selection/{row.tasks[task].main}"))
    return _Course(losses, scores, len(losses) == len(runs))


def _target(courses: Iterable[_Course]) -> float | None:
    """Return the lowest of the best scores of all runs, so that every run reaches it.

    None where no run was evaluated more than once: all would reach it at once.
    """
    known = [course.scores for course in courses if course.scores]
    if not any(len(curve) > 1 for curves in known for curve in curves):
        return None
    return min(max(score for _, score in curve) for curves in known for curve in curves)


def _learning(row: Row, task: str, course: _Course, target: float | None) -> Learning:
    complete = course.complete and len(course.scores) == len(course.losses)
    return Learning(
        model=row.model,
        task=task,
        row=row_name(row.method, row.capacity),
        train_loss=statistics.fmean(curve[-1][1] for curve in course.losses) if course.complete else None,
        target=target,
        steps_to_target=_steps_to(target, course.scores) if target is not None and complete else None,
        curve=_mean_curve(course.losses),
    )


def _steps_to(target: float, curves: Sequence[Curve]) -> float | None:
    firsts = [next((step for step, score in curve if score >= target), None) for curve in curves]
    reached = [step for step in firsts if step is not None]
    return statistics.fmean(reached) if len(reached) == len(firsts) else None


def _mean_curve(curves: Sequence[Curve]) -> tuple[tuple[int, float], ...]:
    """Return the mean over the seeds at the steps that all of them recorded, evenly thinned out."""
    seeds: list[Mapping[int, float]] = [dict(curve) for curve in curves]
    steps = [step for step in seeds[0] if all(step in seed for seed in seeds)]
    if len(steps) > LONGEST:
        steps = [steps[round(number * (len(steps) - 1) / (LONGEST - 1))] for number in range(LONGEST)]
    # Seven digits are what single precision had.
    return tuple((step, float(f"{statistics.fmean(seed[step] for seed in seeds):.7g}")) for step in steps)
