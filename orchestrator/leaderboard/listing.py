"""The trials of a sweep with their status, and one run in full: `fairsweep runs` and `fairsweep show`."""

from __future__ import annotations

from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.cells import cell_of, row_name
from orchestrator.leaderboard.columns import ABSENT, printable
from orchestrator.recorded import RecordedSweep
from orchestrator.tracking import schema
from orchestrator.tracking.records import RunRecord
from search_spaces.trial import Frozen, Phase, Scalar

_INTERNAL = (schema.TRIAL_JSON, schema.ENVIRONMENT_JSON)


class TrialLine(Frozen):
    """One trial of a sweep."""

    trial: str
    run_id: str | None
    """MLflow run; None for a trial that has not run."""
    method: str
    capacity: dict[str, Scalar]
    model: str
    task: str
    phase: Phase
    seed: int
    point: dict[str, Scalar | None]
    status: str
    """Status of the trial; `missing` for one that has not run, `pruned` for one that was halved out."""
    steps: int | None = None
    """Optimiser steps that it trained: the score of one that was halved out is not that of its full length."""
    score: float | None
    """Main metric of the phase's split, in 0..1."""
    error: str | None


def lines_of(sweep: RecordedSweep) -> list[TrialLine]:
    """Return the trials that ran and, as far as they can be known, those that are missing; the select phase first."""
    found = [_line(sweep, record) for _, record in sweep.trials.values()]
    for phase, planned in sweep.missing():
        blank = {"run_id": None, "method": planned.label, "phase": phase, "status": "missing", "score": None, "error": None}
        content = planned.model_dump(include={"capacity", "model", "task", "seed", "point"})
        found.append(TrialLine.model_validate({"trial": planned.id, **content, **blank}))
    return sorted(
        found,
        key=lambda line: (
            line.phase == "report",
            line.model,
            line.task,
            line.method,
            str(line.capacity),
            str(line.point),
            line.seed,
        ),
    )


def listing(lines: list[TrialLine]) -> RenderableType:
    """Return the trials as a table for a terminal."""
    grid = Table("run", "trial", "phase", "method", "task", "point", "seed", "status", "score %", "error")
    for line in lines:
        score = f"{100 * line.score:.1f}" if line.score is not None else ABSENT
        point = " ".join(f"{axis}={value}" for axis, value in line.point.items())
        name = row_name(line.method, line.capacity)
        cells = [
            line.run_id or ABSENT,
            line.trial,
            line.phase,
            name,
            line.task,
            point,
            str(line.seed),
            f"pruned at step {line.steps}" if line.status == "pruned" else line.status,
            score,
            line.error or "",
        ]
        grid.add_row(*(Text(printable(cell)) for cell in cells))
    return grid


def run_json(record: RunRecord) -> dict[str, Any]:
    """Return one run in full: its trial, what came of it, and where it is."""
    outcome = record.outcome
    return {
        "run_id": record.run_id,
        "trial_id": record.trial_id,
        "status": record.status,
        "complete": record.delivered,
        "name": schema.run_name(record.trial),
        "trial": record.trial.model_dump(mode="json"),
        "outcome": outcome.model_dump(mode="json", exclude={"curves", "trial_id", "status"}),
        "tags": {key: value for key, value in record.tags.items() if not key.startswith(_INTERNAL)},
        "params": dict(record.params),
        "metrics": dict(record.metrics),
    }


def run_view(record: RunRecord) -> RenderableType:
    """Return one run in full, for a terminal."""
    ended = f"{record.status} at step {record.outcome.usage.steps}" if record.status == "pruned" else record.status
    head = Text(printable(f"{schema.run_name(record.trial)} on {cell_of(record.trial).task}: {ended}"))
    parts: list[RenderableType] = [head]
    if record.outcome.error:
        parts.append(Text(printable(record.outcome.error), style="red"))
    for title, content in (("metrics", record.metrics), ("params", record.params), ("tags", run_json(record)["tags"])):
        grid = Table(title, "", show_edge=False, title_justify="left")
        for key in sorted(content):
            value = f"{content[key]:.6g}" if isinstance(content[key], float) else str(content[key])
            grid.add_row(Text(printable(key)), Text(printable(value), overflow="fold"))
        parts.append(grid)
    return Group(*parts)


def _line(sweep: RecordedSweep, record: RunRecord) -> TrialLine:
    trial, outcome = sweep.trials[record.trial_id][0], record.outcome
    split = "selection" if trial.phase == "select" else "test"
    return TrialLine(
        trial=record.trial_id,
        run_id=record.run_id,
        method=trial.label,
        capacity=trial.method.capacity,
        model=trial.model.id,
        task=trial.task,
        phase=trial.phase,
        seed=trial.seed,
        point=trial.point,
        status=outcome.status,
        steps=outcome.usage.steps,
        score=outcome.metrics.get(f"{split}/{sweep.plan.main_metrics.get(trial.task, '')}"),
        error=outcome.error,
    )
