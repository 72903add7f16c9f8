"""Outcomes to MLflow, exactly once: delivery is an idempotent function of the Outcome on disk."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenacity import RetryCallState, Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

from orchestrator.tracking import schema
from orchestrator.tracking.connection import PREFIX, AwayError, artifact_location, connect, readable, search
from orchestrator.tracking.records import RAN, RunRecord, precedence, record_of
from search_spaces.errors import StorageError, TrackingError
from search_spaces.trial import Trial
from trainers.outcomes import OutcomeStore
from trainers.results import Outcome, Status

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Param

log = logging.getLogger(__name__)

SWEEP_STATUS: Mapping[str, str] = {
    "running": "RUNNING",
    "finished": "FINISHED",
    "failed": "FAILED",
    "interrupted": "KILLED",
    "stopped": "KILLED",
}
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
        self._experiment_id: str | None = None
        self._met: set[str] | None = None
        """Trials of which MLflow may hold a run, as far as is known since `reconcile`; None when nothing is known."""

    @cached_property
    def _client(self) -> MlflowClient:
        return self._given or connect(self.uri)

    def experiment_id(self) -> str:
        """Return the id of the sweep's experiment, which is made where it is missing and restored where it was deleted."""
        with readable(self.uri):
            return self._experiment(afresh=True)

    def deliver(self, store: OutcomeStore, trial_id: str) -> str:
        """Bring a trial's Outcome to MLflow, from whatever an earlier delivery left; return the run's id.

        A result that MLflow already holds from elsewhere stays; a failure there gives way to the Outcome of this store.

        Raises:
            AwayError: the tracking store does not answer; what was written is completed by the next delivery.
            TrackingError: the tracking store refuses.
            StorageError: the Outcome is missing or damaged.
        """
        outcome, digest = store.read(trial_id), store.digest(trial_id)
        if outcome is None or digest is None:
            raise StorageError(f"{store.root / trial_id} does not exist: trial {trial_id} has no Outcome to deliver")
        trial = store.trial(trial_id)
        with store.files(trial_id) as folder:
            return self._retrying()(self._brought, trial, outcome, digest, folder)

    def reconcile(self) -> dict[str, str]:
        """Delete duplicate runs; return trial id -> digest of the outcome.json of every trial whose run is complete."""
        with readable(self.uri):
            kept: dict[str, RunRecord] = {}
            for record in sorted(self._trial_records(), key=precedence):
                if kept.setdefault(record.trial_id, record) is not record:
                    self._discard(record)
        self._met = set(kept)
        return {trial_id: record.tags[schema.DELIVERED] for trial_id, record in kept.items() if record.delivered}

    def reconcile_trial(self, trial_id: str) -> None:
        """Delete all runs of a trial but one."""
        with readable(self.uri):
            self._reconciled(self._experiment(), trial_id)

    def known_trials(self, *, failed: bool = True) -> set[str]:
        """Return the trials whose complete run MLflow holds, so that they need not run again.

        Args:
            failed: count trials that diverged, ran out of memory or failed as well.
        """
        with readable(self.uri):
            records = [record for record in self._trial_records() if record.delivered]
        return {r.trial_id for r in records if failed or schema.RUN_STATUS.get(r.status) == "FINISHED"}

    def deliver_sweep(self, documents: Mapping[str, str], status: str, now: float, more: Mapping[str, str] | None = None) -> str:
        """Bring the sweep run of this digest up to date; return its id.

        Args:
            documents: file name -> text of its artifacts, such as `spec.yaml`, `plan.json` and `certificate.json`.
            status: `running`, `finished`, `failed`, `interrupted`, or `stopped` between the phases.
            now: Unix time in seconds; the digest with the largest is the sweep's newest.
            more: tags besides, which stay when a later delivery does not repeat them.
        """
        from mlflow.entities import RunTag

        tags = {schema.KIND: "sweep", schema.SWEEP: self.sweep, schema.DIGEST: self.digest, schema.STATUS: status, RAN: str(now)}
        tags |= more or {}
        with readable(self.uri):
            experiment = self._experiment(afresh=True)
            run_id = self._sweep_run(experiment)
            if run_id is None:
                self._client.create_run(experiment, int(now * 1000), tags, f"sweep {self.sweep} {self.digest[:8]}")
                run_id = self._sweep_run(experiment)
                assert run_id is not None
            for name, text in documents.items():
                self._client.log_text(run_id, text, name)
            self._client.log_batch(run_id, tags=[RunTag(key, value) for key, value in tags.items()])
            if status == "running":
                self._client.update_run(run_id, status=SWEEP_STATUS[status])
            else:
                self._client.set_terminated(run_id, SWEEP_STATUS[status], int(now * 1000))
            return run_id

    def attach(self, name: str, text: str) -> None:
        """Put a file on the sweep run of this digest; one of the same name is replaced.

        Raises:
            AwayError: the tracking store does not answer.
            TrackingError: it holds no run of this digest, or refuses.
        """
        with readable(self.uri):
            run_id = self._sweep_run(self._experiment(afresh=True))
            if run_id is None:
                raise TrackingError(f"sweep {self.sweep!r} has no run of digest {self.digest!r} that could take {name}. Fix: run the sweep")
            self._client.log_text(run_id, text, name)

    def _brought(self, trial: Trial, outcome: Outcome, digest: str, folder: Path) -> str:
        """Find or make the one run of a trial, complete it unless it is, or holds another Outcome that came first; return its id."""
        with readable(self.uri):
            record = self._found(trial.id, digest, outcome.status) or self._created(trial, outcome, digest)
            if not record.delivered and record.tags[schema.OUTCOME] == digest:
                _upload(folder, record.artifact_uri, self.uri)
                self._client.set_terminated(record.run_id, schema.RUN_STATUS[outcome.status], int(outcome.ended * 1000))
                self._complete(record, trial, outcome, digest)
            return record.run_id

    def _retrying(self) -> Retrying:
        """Try a few times what the store refuses: a rival that delivers the same trial, or somebody by hand, may have deleted the run.

        The waits are random, and long enough for a rival to come to its end, so that two do not go on deleting each other's.
        """
        return Retrying(
            retry=retry_if_exception(lambda error: isinstance(error, TrackingError) and not isinstance(error, AwayError)),
            stop=stop_after_attempt(5),
            wait=wait_random_exponential(multiplier=0.3, max=5),
            before_sleep=self._forget,
            reraise=True,
        )

    def _forget(self, _: RetryCallState) -> None:
        self._experiment_id = self._met = None

    def _found(self, trial_id: str, digest: str, status: Status) -> RunRecord | None:
        """Return a trial's run, unless it gives way to the Outcome of this digest and was deleted."""
        if self._met is not None and trial_id not in self._met:
            return None
        record = self._reconciled(self._experiment(), trial_id)
        if record is not None and _superseded(record, digest, status):
            self._client.delete_run(record.run_id)
            return None
        return record

    def _experiment(self, afresh: bool = False) -> str:
        """Return the id of the experiment; trials do not ask for it each, since every request counts when many sweeps share a server."""
        if afresh or self._experiment_id is None:
            self._experiment_id = self._found_experiment()
        return self._experiment_id

    def _found_experiment(self) -> str:
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
        runs = search(self._client, [self._experiment(afresh=True)], f"tags.`{schema.KIND}` = 'trial'")
        return list({run.info.run_id: record_of(run) for run in runs}.values())

    def _reconciled(self, experiment: str, trial_id: str) -> RunRecord | None:
        """Return the one run of a trial, after deleting others."""
        runs = search(self._client, [experiment], f"tags.`{schema.TRIAL}` = '{trial_id}'")
        records = sorted(map(record_of, runs), key=precedence)
        for record in records[1:]:
            self._discard(record)
        return records[0] if records else None

    def _created(self, trial: Trial, outcome: Outcome, digest: str) -> RunRecord:
        tags = schema.tags_of(trial, outcome, self.sweep, self.digest, digest)
        experiment = self._experiment()
        if self._met is not None:
            # Before the request: it may be done though its answer is lost.
            self._met.add(trial.id)
        run = self._client.create_run(experiment, int(outcome.started * 1000), tags, schema.run_name(trial))
        # Another deliverer, or a repeated request, may have made one too: only a second look tells whose run stays.
        return self._reconciled(experiment, trial.id) or record_of(run)

    def _discard(self, record: RunRecord) -> None:
        log.warning("trial %s has more than one run; %s is deleted", record.trial_id, record.run_id)
        self._client.delete_run(record.run_id)

    def _complete(self, record: RunRecord, trial: Trial, outcome: Outcome, digest: str) -> None:
        """Write the params and points that a run lacks, and after them that it is complete; other tags it has since it was created."""
        from mlflow.entities import Metric, Param, RunTag

        params = [Param(k, v) for k, v in schema.params_of(trial, outcome).items() if k not in record.params]
        there = {(m.key, m.timestamp, m.step) for key in record.metrics for m in self._client.get_metric_history(record.run_id, key)}
        points = [p for p in schema.points_of(outcome) if (p.key, p.timestamp, p.step) not in there]
        metrics = [Metric(p.key, p.value, p.timestamp, p.step) for p in points]
        *earlier, last = _batches(metrics, params)
        for some_metrics, some_params in earlier:
            self._client.log_batch(record.run_id, some_metrics, some_params)
        # A store writes the tags of a batch after its params and metrics.
        self._client.log_batch(record.run_id, *last, [RunTag(schema.DELIVERED, digest)])

    def _sweep_run(self, experiment: str) -> str | None:
        condition = f"tags.`{schema.KIND}` = 'sweep' and tags.`{schema.DIGEST}` = '{self.digest}'"
        run_ids = sorted(str(run.info.run_id) for run in search(self._client, [experiment], condition))
        for run_id in run_ids[1:]:
            self._client.delete_run(run_id)
        return run_ids[0] if run_ids else None


def _upload(folder: Path, artifact_uri: str, tracking_uri: str) -> None:
    """Send the files of a folder to where the server said at the run's creation; the client would fetch the run again to learn it."""
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    repository: Any = get_artifact_repository(artifact_uri, tracking_uri=tracking_uri)
    repository.log_artifacts(str(folder))


def _superseded(record: RunRecord, digest: str, status: Status) -> bool:
    """Whether a run holds another Outcome than ours, and not a result that came first.

    Where one of the two was halved out and the other was not, the cell was decided anew, and the later word holds.
    """
    alike = (status == "pruned") == (record.status == "pruned")
    settled = record.delivered and schema.RUN_STATUS.get(record.status) == "FINISHED" and alike
    return record.tags.get(schema.OUTCOME) != digest and not settled


def _batches(metrics: Sequence[Metric], params: Sequence[Param]) -> list[tuple[Sequence[Metric], Sequence[Param]]]:
    """Return what goes into one request each, at least one: up to 100 params, and 1,000 entries in all with a tag."""
    number = max(1, math.ceil(len(metrics) / 899), math.ceil(len(params) / 100))
    return [(metrics[899 * n : 899 * (n + 1)], params[100 * n : 100 * (n + 1)]) for n in range(number)]
