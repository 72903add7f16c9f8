"""Outcomes to MLflow, exactly once: delivery is an idempotent function of the Outcome on disk."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping, Sequence
from functools import cached_property
from itertools import zip_longest
from typing import TYPE_CHECKING, TypeVar

from orchestrator.tracking import schema
from orchestrator.tracking.connection import PREFIX, artifact_location, connect, readable, search
from orchestrator.tracking.records import RAN, RunRecord, precedence, record_of
from search_spaces.errors import StorageError
from search_spaces.trial import Trial
from trainers.outcomes import OutcomeStore
from trainers.results import Outcome

if TYPE_CHECKING:
    from mlflow import MlflowClient

log = logging.getLogger(__name__)
T = TypeVar("T")

SWEEP_STATUS: Mapping[str, str] = {"running": "RUNNING", "finished": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
"""Status of a sweep -> status of its MLflow run."""


class Tracker:
    """Delivers the Outcomes of one sweep. It connects at its first use, so making one never waits for a server.

    Args:
        uri: tracking URI.
        sweep: the sweep's name; its experiment is `fairsweep/<sweep>`.
        digest: digest of the sweep.
        client: a client of `uri`, in place of one of its own.
    """

    def __init__(self, uri: str, sweep: str, digest: str, client: MlflowClient | None = None) -> None:
        self.uri, self.sweep, self.digest = uri, sweep, digest
        self._given = client

    @cached_property
    def _client(self) -> MlflowClient:
        return self._given or connect(self.uri)

    def experiment_id(self) -> str:
        """Return the id of the sweep's experiment, which is made where it is missing and restored where it was deleted."""
        with readable(self.uri):
            return self._experiment()

    def deliver(self, store: OutcomeStore, trial_id: str) -> str:
        """Bring a trial's Outcome to MLflow, from whatever an earlier delivery left; return the run's id.

        A result that MLflow already holds from elsewhere stays; a failure there gives way to the Outcome of this store.

        Raises:
            AwayError: the tracking store does not answer; what was written is completed by the next delivery.
            TrackingError: the tracking store refuses.
            StorageError: the Outcome is missing or damaged.
        """
        outcome = store.read(trial_id)
        if outcome is None:
            raise StorageError(f"{store.folder(trial_id)} does not exist: trial {trial_id} has no Outcome to deliver")
        trial, digest = store.trial(trial_id), outcome_digest(store, trial_id)
        with readable(self.uri):
            experiment = self._experiment()
            record = self._reconciled(experiment, trial_id)
            if record is not None and _superseded(record, digest):
                self._client.delete_run(record.run_id)
                record = None
            record = record or self._created(experiment, trial, outcome, digest)
            if not record.delivered and record.tags[schema.OUTCOME] == digest:
                self._complete(record, trial, outcome)
                self._client.log_artifacts(record.run_id, str(store.folder(trial_id)))
                self._client.set_terminated(record.run_id, schema.RUN_STATUS[outcome.status], int(outcome.ended * 1000))
                self._client.set_tag(record.run_id, schema.DELIVERED, digest)
            return record.run_id

    def reconcile(self) -> dict[str, str]:
        """Delete duplicate runs; return trial id -> digest of the outcome.json of every trial whose run is complete."""
        with readable(self.uri):
            kept: dict[str, RunRecord] = {}
            for record in sorted(self._trial_records(), key=precedence):
                if kept.setdefault(record.trial_id, record) is not record:
                    self._discard(record)
        return {trial_id: record.tags[schema.DELIVERED] for trial_id, record in kept.items() if record.delivered}

    def known_trials(self, *, failed: bool = True) -> set[str]:
        """Return the trials whose complete run MLflow holds, so that they need not run again.

        Args:
            failed: count trials that diverged, ran out of memory or failed as well.
        """
        with readable(self.uri):
            records = [record for record in self._trial_records() if record.delivered]
        return {r.trial_id for r in records if failed or schema.RUN_STATUS.get(r.status) == "FINISHED"}

    def deliver_sweep(self, documents: Mapping[str, str], status: str, now: float) -> str:
        """Bring the sweep run of this digest up to date; return its id.

        Args:
            documents: file name -> text of its artifacts, such as `spec.yaml`, `plan.json` and `certificate.json`.
            status: `running`, `finished`, `failed` or `interrupted`.
            now: Unix time in seconds; the digest with the largest is the sweep's newest.
        """
        tags = {schema.KIND: "sweep", schema.SWEEP: self.sweep, schema.DIGEST: self.digest, schema.STATUS: status, RAN: str(now)}
        with readable(self.uri):
            experiment = self._experiment()
            run_id = self._sweep_run(experiment)
            if run_id is None:
                self._client.create_run(experiment, int(now * 1000), tags, f"sweep {self.sweep} {self.digest[:8]}")
                run_id = self._sweep_run(experiment)
                assert run_id is not None
            for name, text in documents.items():
                self._client.log_text(run_id, text, name)
            for key, value in tags.items():
                self._client.set_tag(run_id, key, value)
            if status == "running":
                self._client.update_run(run_id, status=SWEEP_STATUS[status])
            else:
                self._client.set_terminated(run_id, SWEEP_STATUS[status], int(now * 1000))
            return run_id

    def _experiment(self) -> str:
        name = PREFIX + self.sweep
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            return self._new_experiment(name)
        if experiment.lifecycle_stage != "active":
            log.warning("experiment %s was deleted; it is restored", name)
            self._client.restore_experiment(experiment.experiment_id)
        return str(experiment.experiment_id)

    def _new_experiment(self, name: str) -> str:
        from mlflow.exceptions import MlflowException

        try:
            return str(self._client.create_experiment(name, artifact_location(self.uri, self.sweep)))
        except MlflowException as error:
            rival = self._client.get_experiment_by_name(name) if error.error_code == "RESOURCE_ALREADY_EXISTS" else None
            if rival is None:
                raise
            return str(rival.experiment_id)

    def _trial_records(self) -> list[RunRecord]:
        runs = search(self._client, [self._experiment()], f"tags.`{schema.KIND}` = 'trial'")
        return list({run.info.run_id: record_of(run) for run in runs}.values())

    def _reconciled(self, experiment: str, trial_id: str) -> RunRecord | None:
        """Return the one run of a trial, after deleting others."""
        runs = search(self._client, [experiment], f"tags.`{schema.TRIAL}` = '{trial_id}'")
        records = sorted(map(record_of, runs), key=precedence)
        for record in records[1:]:
            self._discard(record)
        return records[0] if records else None

    def _created(self, experiment: str, trial: Trial, outcome: Outcome, digest: str) -> RunRecord:
        tags = schema.tags_of(trial, outcome, self.sweep, self.digest, digest)
        run = self._client.create_run(experiment, int(outcome.started * 1000), tags, schema.run_name(trial))
        # Another deliverer, or a repeated request, may have made one too: only a second look tells whose run stays.
        return self._reconciled(experiment, trial.id) or record_of(run)

    def _discard(self, record: RunRecord) -> None:
        log.warning("trial %s has more than one run; %s is deleted", record.trial_id, record.run_id)
        self._client.delete_run(record.run_id)

    def _complete(self, record: RunRecord, trial: Trial, outcome: Outcome) -> None:
        """Write the params and points that a run lacks; its tags are there since it was created."""
        from mlflow.entities import Metric, Param

        params = [Param(k, v) for k, v in schema.params_of(trial, outcome).items() if k not in record.params]
        there = {(m.key, m.timestamp, m.step) for key in record.metrics for m in self._client.get_metric_history(record.run_id, key)}
        points = [p for p in schema.points_of(outcome) if (p.key, p.timestamp, p.step) not in there]
        metrics = [Metric(p.key, p.value, p.timestamp, p.step) for p in points]
        # The limits of one request: 100 params, 1,000 entries in all.
        for some_params, some_metrics in zip_longest(_chunks(params, 100), _chunks(metrics, 900), fillvalue=()):
            self._client.log_batch(record.run_id, some_metrics, some_params)

    def _sweep_run(self, experiment: str) -> str | None:
        condition = f"tags.`{schema.KIND}` = 'sweep' and tags.`{schema.DIGEST}` = '{self.digest}'"
        run_ids = sorted(str(run.info.run_id) for run in search(self._client, [experiment], condition))
        for run_id in run_ids[1:]:
            self._client.delete_run(run_id)
        return run_ids[0] if run_ids else None


def outcome_digest(store: OutcomeStore, trial_id: str) -> str:
    """Return the SHA-256, in hexadecimal, of a trial's outcome.json."""
    return hashlib.sha256((store.folder(trial_id) / "outcome.json").read_bytes()).hexdigest()


def _superseded(record: RunRecord, digest: str) -> bool:
    """Whether a run holds another Outcome than ours, and not a result that came first."""
    settled = record.delivered and schema.RUN_STATUS.get(record.status) == "FINISHED"
    return record.tags.get(schema.OUTCOME) != digest and not settled


def _chunks(items: Sequence[T], size: int) -> list[Sequence[T]]:
    return [items[start : start + size] for start in range(0, len(items), size)]
