"""What must hold in MLflow after every fault: one live run per trial, with all that its Outcome says."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from orchestrator.tracking import schema
from orchestrator.tracking.connection import connect
from search_spaces.trial import Trial
from tests.faults.records import Record, files
from trainers.results import Outcome

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


def violations(uri: str, sweep: str, found: Mapping[str, Record]) -> list[str]:
    """Compare the runs of a sweep with its Outcomes."""
    client = connect(uri)
    experiment = client.get_experiment_by_name(f"fairsweep/{sweep}")
    if experiment is None:
        return [f"MLflow has no experiment fairsweep/{sweep}"]
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    trials = [run for run in runs if run.data.tags.get(schema.KIND) == "trial"]
    lines = [*_counted(Counter(run.data.tags.get(schema.TRIAL, "") for run in trials), found), *_sweep_run(runs)]
    for run in trials:
        if (record := found.get(run.data.tags.get(schema.TRIAL, ""))) is not None:
            lines += [f"the run of {record.describe()} {line}" for line in _incomplete(client, run, record)]
    return lines


def _counted(live: Counter[str], found: Mapping[str, Record]) -> Iterator[str]:
    for trial_id in sorted(live.keys() | found.keys()):
        if (live[trial_id], trial_id in found) != (1, True):
            yield f"trial {trial_id} has {live[trial_id]} live runs in MLflow and {'an' if trial_id in found else 'no'} Outcome"


def _sweep_run(runs: list[Run]) -> Iterator[str]:
    ended = [run.data.tags.get(schema.STATUS) for run in runs if run.data.tags.get(schema.KIND) == "sweep"]
    if len(ended) != 1 or ended[0] not in ("finished", "failed"):
        yield f"MLflow has sweep runs with the status {ended}, not one that is finished"


def _incomplete(client: MlflowClient, run: Run, record: Record) -> Iterator[str]:
    """Yield what the run of a trial lacks, or has in excess."""
    trial = Trial.model_validate_json((record.folder / "trial.json").read_text())
    outcome = Outcome.model_validate_json((record.folder / "outcome.json").read_text())
    if not run.data.tags.get(schema.DELIVERED) == run.data.tags.get(schema.OUTCOME) == record.digest:
        yield "was not delivered to its end"
    if run.info.status != schema.RUN_STATUS[outcome.status]:
        yield f"has the status {run.info.status}"
    if dict(run.data.params) != (params := schema.params_of(trial, outcome)):
        yield f"has other params: {sorted(dict(run.data.params).items() ^ params.items())[:2]}"
    points = Counter((point.key, point.step, point.value) for point in schema.points_of(outcome))
    if (logged := Counter(_points(client, run))) != points:
        yield f"lacks the points {sorted((points - logged).elements())[:2]} and has {sorted((logged - points).elements())[:2]} in excess"
    stored = {name: path.stat().st_size for name, path in files(record.folder).items()}
    if (artifacts := dict(_artifacts(client, run.info.run_id))) != stored:
        yield f"has other artifacts: {sorted(artifacts.items() ^ stored.items())[:2]}"


def _points(client: MlflowClient, run: Run) -> Iterator[tuple[str, int, float]]:
    for name in run.data.metrics:
        yield from ((point.key, point.step, point.value) for point in client.get_metric_history(run.info.run_id, name))


def _artifacts(client: MlflowClient, run_id: str, below: str | None = None) -> Iterator[tuple[str, Any]]:
    for item in client.list_artifacts(run_id, below):
        if item.is_dir:
            yield from _artifacts(client, run_id, item.path)
        else:
            yield item.path, item.file_size
