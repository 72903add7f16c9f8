"""One run as MLflow holds it, and what of a Trial and its Outcome it tells."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from orchestrator.tracking import schema
from search_spaces.errors import TrackingError
from search_spaces.trial import Frozen, Trial
from trainers.results import RUNG_METRIC, Counts, Outcome, Profile, Usage

if TYPE_CHECKING:
    from mlflow.entities import Run


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
    rivals: tuple[str, ...] = ()
    """Ids of other complete runs of the same trial, which delivery never leaves behind."""

    @property
    def delivered(self) -> bool:
        """Whether the run holds all of its Outcome."""
        return schema.DELIVERED in self.tags and self.tags[schema.DELIVERED] == self.tags.get(schema.OUTCOME)

    @property
    def complete(self) -> bool:
        """Whether a run beside the trials holds all that it was to hold."""
        return schema.CONTENT in self.tags and self.tags[schema.CONTENT] == self.tags.get(schema.DELIVERED)

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
        params, metrics = _grouped(self.params), _grouped(self.metrics)
        environment = schema.joined_tag(schema.ENVIRONMENT_JSON, self.tags)
        return {
            "trial_id": self.trial_id,
            "attempt": self.tags.get("fairsweep.attempt", ""),
            "status": self.status,
            "started": self.started,
            "ended": self.started if self.ended is None else self.ended,
            # The curve of a failed trial ends somewhere; its last value is no result.
            "metrics": {k: v for k, v in self.metrics.items() if k.startswith(("selection/", "test/") if finished else RUNG_METRIC)},
            "best_step": self.params.get("best_step"),
            "counts": _fields(Counts, params.get("counts", {})) or None,
            "usage": _fields(Usage, metrics.get("usage", {})),
            "profile": _fields(Profile, metrics.get("profile", {})),
            "data_digests": params.get("digest", {}),
            "environment": json.loads(environment) if environment else {},
            "environment_digest": self.tags.get(schema.ENVIRONMENT, ""),
            "error": self.tags.get(schema.ERROR),
        }


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


def kept(records: Iterable[RunRecord]) -> RunRecord:
    """Return the run of a trial that stays, and note on it which others are complete."""
    first, *others = sorted(records, key=precedence)
    rivals = tuple(record.run_id for record in others if record.delivered)
    return replace(first, rivals=rivals) if rivals else first


def precedence(record: RunRecord) -> tuple[bool, bool, str]:
    """Order the runs of one trial: the first one stays. Complete before half-written, a result before a failure, then the lowest run id."""
    return not record.delivered, schema.RUN_STATUS.get(record.status) == "FAILED", record.run_id


def fingerprint(records: Iterable[RunRecord]) -> str:
    """Return a digest of all that some runs say; their order changes nothing."""
    total = hashlib.sha256()
    for record in sorted(records, key=lambda record: record.run_id):
        held = [sorted(content.items()) for content in (record.tags, record.params, record.metrics)]
        total.update(repr((record.run_id, record.run_status, record.started, record.ended, record.artifact_uri, held)).encode())
    return total.hexdigest()


def newest_first(records: Iterable[RunRecord]) -> list[RunRecord]:
    """Return records by start time, the latest first."""
    return sorted(records, key=lambda record: (-record.started, record.run_id))


def _grouped(content: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return values by the first part of their names and the rest of it; those of one part are in no group."""
    found: dict[str, dict[str, Any]] = {}
    for key, value in content.items():
        group, slash, name = key.partition("/")
        if slash:
            found.setdefault(group, {})[name] = value
    return found


def _fields(model: type[Frozen], content: Mapping[str, Any]) -> dict[str, Any]:
    known = model.model_fields
    return {key: value for key, value in content.items() if key in known}
