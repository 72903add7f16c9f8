"""From the runs of a sweep to the rows of its leaderboard."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from orchestrator.cells import Capacity, Cell, row_name
from orchestrator.fairness import Certificate
from orchestrator.leaderboard.costs import company, costs_of, pack_width
from orchestrator.leaderboard.published import published_scores
from orchestrator.leaderboard.report_runs import ReportRun, report_runs
from orchestrator.leaderboard.row import FailedRun, MetricScore, Row, TaskScore
from orchestrator.recorded import PlannedTrial, RecordedSweep
from orchestrator.tracking.records import RunRecord
from search_spaces.trial import BASE
from trainers.results import Counts


def rows_of(sweep: RecordedSweep, certificate: Certificate) -> list[Row]:
    """Return all rows: per base model the ranked ones from the best on, the incomplete ones, the refused ones.

    The untuned model is ranked like the others. A diverged report run scores as the untuned model does on its task; a run
    that failed otherwise, or is missing, leaves its row incomplete and unranked.
    """
    base = {cell: report_runs(sweep, cell) for cell in _base_cells(sweep)}
    untuned = {(cell.model, cell.task): _mean_scores(runs) for cell, runs in base.items()}
    marks = _Marks(certificate)
    rows = []
    for (model, label, capacity), cells in _by_row([*base, *sweep.counts]):
        runs = {cell: base[cell] if cell.is_base else report_runs(sweep, cell) for cell in cells}
        tasks = {cell.task: _task_score(sweep, cell, runs[cell], untuned.get((model, cell.task), {})) for cell in cells}
        counts = sweep.counts.get(cells[0], Counts(peak=0, stored=0))
        row = _row(sweep, Cell(model, "", label, capacity), counts, tasks, [run for cell in cells for run in runs[cell]])
        rows.append(row.model_copy(update={"marks": (*marks.of(row), *row.marks)}))
    rows += _refused_rows(sweep)
    return _ranked([row.model_copy(update={"published": published_scores(sweep.plan, row)}) for row in rows], sweep)


def _base_cells(sweep: RecordedSweep) -> list[Cell]:
    return [planned.cell for planned in sweep.plan.base_trials]


def _by_row(cells: Iterable[Cell]) -> list[tuple[tuple[str, str, Capacity], list[Cell]]]:
    found: dict[tuple[str, str, Capacity], list[Cell]] = {}
    for cell in cells:
        found.setdefault((cell.model, cell.label, cell.capacity), []).append(cell)
    return list(found.items())


def _mean_scores(runs: Sequence[ReportRun]) -> dict[str, float]:
    """Return the mean test metrics of finished runs, with which a diverged run is scored."""
    scores = [run.scores for run in runs if run.scores]
    names = [name for name in scores[0] if all(name in score for score in scores)] if scores else []
    return {name: statistics.fmean(score[name] for score in scores) for name in names}


def _task_score(sweep: RecordedSweep, cell: Cell, runs: Sequence[ReportRun], untuned: Mapping[str, float]) -> TaskScore:
    scores = [dict(untuned) if run.status == "diverged" else run.scores for run in runs]
    main = sweep.plan.main_metrics[cell.task]
    complete = bool(scores) and all(main in score for score in scores)
    names = [name for name in scores[0] if all(name in score for score in scores)] if complete else []
    selection = sweep.selections.get(cell)
    return TaskScore(
        main=main,
        metrics={name: _metric([score[name] for score in scores]) for name in names},
        seeds=1 if cell.is_base else len(sweep.plan.spec.seeds.report),
        finished=sum(run.status == "finished" for run in runs),
        selected={} if cell.is_base else dict(selection.point) if selection else None,
        select_failed=selection.failed if selection else 0,
    )


def _metric(values: Sequence[float]) -> MetricScore:
    return MetricScore(mean=statistics.fmean(values), std=statistics.stdev(values) if len(values) > 1 else None)


def _row(sweep: RecordedSweep, row: Cell, counts: Counts, tasks: Mapping[str, TaskScore], runs: Sequence[ReportRun]) -> Row:
    done = [run.record.outcome for run in runs if run.record and run.status == "finished"]
    failed = [_failed(run.planned, run.record) for run in runs if run.record and run.status != "finished"]
    mains = [score.metrics[score.main].mean if score.metrics else None for score in tasks.values()]
    wanted = {planned.task for planned in sweep.plan.base_trials if planned.model == row.model}
    return Row(
        method=row.label,
        implementation=BASE if row.is_base else sweep.plan.implementations[row.label].method,
        family="" if row.is_base else sweep.plan.implementations[row.label].family,
        capacity=row.config,
        trainable=counts.trainable,
        counts=counts,
        model=row.model,
        tasks=dict(tasks),
        average=statistics.fmean(known) if len(known := [m for m in mains if m is not None]) == len(wanted) else None,
        failures=len(failed),
        failed_runs=tuple(failed),
        runs=tuple(run.record.run_id for run in runs if run.record),
        marks=(*_incompleteness(sweep, tasks, runs), *_left_out(sweep, row), *(company(done) if sweep.plan.spec.resources.solo else ())),
        packed=pack_width(done),
        **costs_of(done),
    )


def _failed(planned: PlannedTrial, record: RunRecord) -> FailedRun:
    return FailedRun(
        run_id=record.run_id,
        trial=planned.id,
        task=planned.task,
        seed=planned.seed,
        status=record.status,
        error=record.outcome.error,
    )


def _incompleteness(sweep: RecordedSweep, tasks: Mapping[str, TaskScore], runs: Sequence[ReportRun]) -> list[str]:
    """Return a mark for every task that has no score, with what is missing."""
    found = []
    for task in sweep.plan.main_metrics:
        if task not in tasks or tasks[task].metrics:
            continue
        states = Counter(_state(run, tasks[task].main) for run in runs if run.planned.task == task)
        del states["finished"]
        if not any(run.planned.task == task for run in runs):
            states["not run"] = tasks[task].seeds
        found.append(f"incomplete: {task} ({', '.join(f'{n} {state}' for state, n in sorted(states.items()))})")
    return found


def _state(run: ReportRun, main: str) -> str:
    return f"finished without {main}" if run.status == "finished" and main not in run.scores else run.status


def _left_out(sweep: RecordedSweep, row: Cell) -> list[str]:
    """Return a mark for the tasks that a row which runs on others does not cover, with the reason."""
    reasons: dict[str, list[str]] = {}
    for refused in sweep.plan.refused:
        if (refused.model, refused.label, refused.cell.capacity) == (row.model, row.label, row.capacity):
            reasons.setdefault(refused.reason, []).append(refused.task)
    return [f"not applicable to {', '.join(names)}: {reason}" for reason, names in reasons.items()]


def _refused_rows(sweep: RecordedSweep) -> list[Row]:
    """Return a row for every method and capacity that a model refuses on all tasks; where some tasks run, their row has them."""
    running = {(cell.model, cell.label, cell.capacity) for cell in sweep.counts}
    reasons: dict[tuple[str, str, Capacity], dict[str, None]] = {}
    for refused in sweep.plan.refused:
        key = (refused.model, refused.label, refused.cell.capacity)
        if key not in running:
            reasons.setdefault(key, {})[refused.reason] = None
    return [
        Row(
            method=label,
            implementation=sweep.plan.implementations[label].method,
            family=sweep.plan.implementations[label].family,
            capacity=dict(capacity),
            trainable=None,
            counts=None,
            model=model,
            tasks={},
            average=None,
            runs=(),
            marks=tuple(f"not applicable: {reason}" for reason in found),
        )
        for (model, label, capacity), found in reasons.items()
    ]


def _ranked(rows: Sequence[Row], sweep: RecordedSweep) -> list[Row]:
    """Sort the rows, those of one base model together, and give complete ones their rank; equal averages share a rank."""
    models = list(dict.fromkeys(planned.model for planned in sweep.plan.base_trials))
    ordered = sorted(
        rows, key=lambda row: (models.index(row.model), -row.average if row.average is not None else float("inf"), not row.tasks)
    )
    found = []
    for _, board in groupby(ordered, key=lambda row: row.model):
        scores: list[float] = []
        for row in board:
            rank = None
            if row.average is not None:
                scores.append(row.average)
                rank = scores.index(row.average) + 1
            found.append(row.model_copy(update={"rank": rank}))
    return found


class _Marks:
    """The marks that the certificate puts on rows."""

    def __init__(self, certificate: Certificate) -> None:
        self._marks = certificate.marks()
        failing = [rule for rule in certificate.rules if not rule.ok]
        self._deviations = [(rule.id, str(text)) for rule in failing for text in rule.evidence.get("deviations", ())]

    def of(self, row: Row) -> list[str]:
        """Return what the rules say of a label, and which rules the row itself breaks."""
        name = row_name(row.method, row.capacity)
        broken = dict.fromkeys(rule for rule, text in self._deviations if text.startswith(f"{name} on ") and row.model in text)
        marks = (*self._marks.get(row.method, ()), *self._marks.get(f"{name} on {row.model}", ()))
        return [*marks, *(f"breaks {rule}" for rule in broken)]
