"""MLflow back to records: what the leaderboard and the audit read, from one search, without fetching an artifact."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from orchestrator.tracking import schema
from orchestrator.tracking.connection import PREFIX, connect, exists, readable, search, shown_uri, sweep_experiments
from search_spaces.errors import TrackingError, UnknownNameError, suggestion
from search_spaces.trial import Frozen, Trial
from trainers.results import Counts, Outcome, Profile, Usage

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

RAN = "fairsweep.ran"
"""Tag of a sweep run: Unix time, in seconds, of the last `run` of this digest."""


@dataclass(frozen=True)
class RunRecord:
    """One trial as MLflow holds it."""

    run_id: str
    trial_id: str
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    """Final (latest) values."""
    run_status: str
    """Status of the MLflow run: RUNNING, FINISHED or FAILED."""
    started: float
    """Unix time in seconds."""
    ended: float | None
    artifact_uri: str = ""
    """Where the run's files go."""

    @property
    def delivered(self) -> bool:
        """Whether the run holds all of its Outcome."""
        return schema.DELIVERED in self.tags and self.tags[schema.DELIVERED] == self.tags.get(schema.OUTCOME)

    @property
    def status(self) -> str:
        """The trial's status; empty when the run does not say."""
        return self.tags.get(schema.STATUS, "")

    @cached_property
    def trial(self) -> Trial:
        """The Trial of this run.

        Raises:
            TrackingError: the run does not hold it, or holds one of another id.
        """
        text = schema.joined_tag(schema.TRIAL_JSON, self.tags)
        try:
            trial = Trial.model_validate_json(text or "")
        except ValidationError as error:
            reason = f"its tag {schema.TRIAL_JSON} is no Trial of this version of fairsweep"
            raise TrackingError(f"run {self.run_id} cannot be read: {reason}. Fix: delete the run in MLflow, then run the sweep") from error
        if trial.id != self.trial_id:
            raise TrackingError(
                f"run {self.run_id} says it is trial {self.trial_id}, but its content is that of {trial.id}: it was edited, or written "
                "by another version of fairsweep. Fix: delete the run in MLflow, then run the sweep again"
            )
        return trial

    @cached_property
    def outcome(self) -> Outcome:
        """The Outcome as far as the run tells it: everything but the curves.

        Raises:
            TrackingError: a value is missing or malformed.
        """
        try:
            return Outcome.model_validate(self._outcome())
        except (ValidationError, ValueError) as error:
            raise TrackingError(f"run {self.run_id} of trial {self.trial_id} does not hold an Outcome: {error}") from error

    def contradictions(self) -> list[str]:
        """Return the params that differ from what the trial's content implies, as `name: value, not value`."""
        expected = schema.trial_params(self.trial)
        found = {name: self.params.get(name, "nothing") for name in expected}
        return [f"{name}: {found[name]}, not {value}" for name, value in expected.items() if found[name] != value]

    def _outcome(self) -> dict[str, Any]:
        finished = self.status in ("finished", "pruned")
        environment = schema.joined_tag(schema.ENVIRONMENT_JSON, self.tags)
        return {
            "trial_id": self.trial_id,
            "attempt": self.tags.get("fairsweep.attempt", ""),
            "status": self.status,
            "started": self.started,
            "ended": self.started if self.ended is None else self.ended,
            # The curve of a failed trial ends somewhere; its last value is no result.
            "metrics": {k: v for k, v in self.metrics.items() if k.startswith(("selection/", "test/"))} if finished else {},
            "best_step": self.params.get("best_step"),
            "counts": _fields(Counts, "counts/", self.params) or None,
            "usage": _fields(Usage, "usage/", self.metrics),
            "profile": _fields(Profile, "profile/", self.metrics),
            "data_digests": _below("digest/", self.params),
            "environment": json.loads(environment) if environment else {},
            "environment_digest": self.tags.get(schema.ENVIRONMENT, ""),
            "error": self.tags.get(schema.ERROR),
        }


class RunReader:
    """Reads sweeps back from a tracking store."""

    def __init__(self, uri: str, client: MlflowClient | None = None) -> None:
        if client is None and not exists(uri):
            raise TrackingError(f"{shown_uri(uri)} holds no sweep yet. Fix: run one, or pass the --tracking-uri that it was recorded in")
        self.uri = uri
        self._client = client or connect(uri)

    def sweeps(self) -> list[str]:
        """Return the names of the sweeps that the store holds."""
        with readable(self.uri):
            return sorted(sweep_experiments(self._client))

    def latest_sweep(self) -> str:
        """Return the name of the sweep that ran last.

        Raises:
            TrackingError: the store holds no sweep.
        """
        with readable(self.uri):
            runs = list(search(self._client, list(sweep_experiments(self._client).values()), _kind("sweep")))
        if not runs:
            raise TrackingError(f"{shown_uri(self.uri)} holds no sweep yet. Fix: run one first, or point --tracking-uri at its store")
        return str(max(runs, key=_last_ran).data.tags[schema.SWEEP])

    def runs(self, sweep: str) -> list[RunRecord]:
        """Return one record per trial of a sweep, whatever the digest that it ran under, in order of the trial ids.

        Runs whose delivery is not complete are included (`RunRecord.delivered` tells); of duplicates, the one that delivery keeps.

        Raises:
            UnknownNameError: the store holds no sweep of this name.
        """
        best: dict[str, RunRecord] = {}
        with readable(self.uri):
            for run in search(self._client, [self._experiment(sweep)], _kind("trial")):
                record = record_of(run)
                best[record.trial_id] = min(best.get(record.trial_id, record), record, key=precedence)
        return [best[trial_id] for trial_id in sorted(best)]

    def run(self, run_id: str) -> RunRecord:
        """Return one trial's record by its MLflow run id or its trial id.

        Raises:
            TrackingError: there is no such run.
        """
        with readable(self.uri):
            experiments = list(sweep_experiments(self._client).values())
            quoted = run_id.replace("'", "")
            for condition in (f"attributes.run_id = '{quoted}'", f"tags.`{schema.TRIAL}` = '{quoted}'"):
                runs = [run for run in search(self._client, experiments, condition) if schema.TRIAL in run.data.tags]
                if runs:
                    return min(map(record_of, runs), key=precedence)
        raise TrackingError(f"{shown_uri(self.uri)} has no trial run {run_id!r}. Fix: `fairsweep runs SWEEP` lists them")

    def sweep_document(self, sweep: str, digest: str | None = None) -> dict[str, Any]:
        """Return plan.json of a sweep's newest digest, or of the given one.

        Raises:
            UnknownNameError: the store holds no sweep of this name.
            TrackingError: it holds none of this digest, or without its plan.
        """
        text = self.sweep_artifact(sweep, "plan.json", digest)
        document = json.loads(text)
        if not isinstance(document, dict):
            raise TrackingError(f"plan.json of sweep {sweep!r} in {shown_uri(self.uri)} is damaged. Fix: run the sweep again")
        return document

    def sweep_artifact(self, sweep: str, name: str, digest: str | None = None) -> str:
        """Return the text of one artifact of the sweep run, such as `spec.yaml`; raises as `sweep_document` does."""
        with readable(self.uri):
            runs = list(search(self._client, [self._experiment(sweep)], _kind("sweep")))
            known = {run.data.tags.get(schema.DIGEST, ""): run for run in sorted(runs, key=_last_ran)}
            if not known or (digest is not None and digest not in known):
                reason = f"no digest {digest!r}. {suggestion(digest, known)}" if digest and known else "no plan yet"
                raise TrackingError(f"sweep {sweep!r} in {shown_uri(self.uri)} has {reason} Fix: run the sweep, which records its plan")
            run = known[digest] if digest is not None else list(known.values())[-1]
            if name not in {file.path for file in self._client.list_artifacts(run.info.run_id)}:
                raise TrackingError(f"sweep {sweep!r} in {shown_uri(self.uri)} has no {name} yet. Fix: run the sweep, which records it")
            with TemporaryDirectory() as folder:
                return Path(self._client.download_artifacts(run.info.run_id, name, folder)).read_text()

    def download(self, run_id: str, artifact: str, folder: Path) -> Path:
        """Fetch one artifact (a file or a folder, such as `adapter`) of a run; return where it is."""
        with readable(self.uri):
            return Path(self._client.download_artifacts(run_id, artifact, str(folder)))

    def experiment_id(self, sweep: str) -> str:
        """Return the id of a sweep's experiment; raises as `runs` does."""
        with readable(self.uri):
            return self._experiment(sweep)

    def _experiment(self, sweep: str) -> str:
        experiment = self._client.get_experiment_by_name(PREFIX + sweep)
        if experiment is None or experiment.lifecycle_stage != "active":
            raise UnknownNameError("sweep", sweep, self.sweeps())
        return str(experiment.experiment_id)


def record_of(run: Run) -> RunRecord:
    """Return an MLflow run of a trial as a record."""
    info, data = run.info, run.data
    return RunRecord(
        run_id=info.run_id,
        trial_id=data.tags.get(schema.TRIAL, ""),
        tags=dict(data.tags),
        params=dict(data.params),
        metrics=dict(data.metrics),
        run_status=str(info.status),
        started=(info.start_time or 0) / 1000,
        ended=None if info.end_time is None else info.end_time / 1000,
        artifact_uri=str(info.artifact_uri or ""),
    )


def precedence(record: RunRecord) -> tuple[bool, bool, str]:
    """Order the runs of one trial: the first one stays. Complete before half-written, a result before a failure, then the lowest run id."""
    return not record.delivered, schema.RUN_STATUS.get(record.status) == "FAILED", record.run_id


def newest_first(records: Iterable[RunRecord]) -> list[RunRecord]:
    """Return records by start time, the latest first."""
    return sorted(records, key=lambda record: (-record.started, record.run_id))


def _below(prefix: str, content: Mapping[str, Any]) -> dict[str, Any]:
    return {key.removeprefix(prefix): value for key, value in content.items() if key.startswith(prefix)}


def _fields(model: type[Frozen], prefix: str, content: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in _below(prefix, content).items() if key in model.model_fields}


def _kind(kind: str) -> str:
    return f"tags.`{schema.KIND}` = '{kind}'"


def _last_ran(run: Run) -> tuple[float, str]:
    return float(run.data.tags.get(RAN, 0)), str(run.info.run_id)
