"""MLflow back to records: what the leaderboard and the audit read, all runs at once, without fetching an artifact."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from orchestrator.tracking import artifacts, schema
from orchestrator.tracking.bulk import engine_of, live_runs
from orchestrator.tracking.connection import PREFIX, connect, exists, readable, search, shown_uri, sweep_experiments
from orchestrator.tracking.run_cache import RUNS
from orchestrator.tracking.run_record import RunRecord, fingerprint, kept, newest_first, precedence, record_of
from search_spaces.errors import TrackingError, UnknownNameError, suggestion

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["RAN", "RunReader", "RunRecord", "SweepRun", "kept", "newest_first", "precedence", "record_of"]

RAN = "fairsweep.ran"
"""Tag of a sweep run: Unix time, in seconds, of the last `run` of this digest."""


@dataclass(frozen=True)
class SweepRun:
    """The MLflow run of a sweep's digest."""

    run_id: str
    digest: str
    """As its tag says."""
    tags: Mapping[str, str]


class RunReader:
    """Reads sweeps back from a tracking store: as they are at each call, or after `pin` as they were then."""

    def __init__(self, uri: str, client: MlflowClient | None = None) -> None:
        if client is None and not exists(uri):
            raise TrackingError(f"{shown_uri(uri)} holds no sweep yet. Fix: run one, or pass the --tracking-uri that it was recorded in")
        self.uri = uri
        self._client = client or connect(uri)
        self._pinned: dict[str, Sequence[RunRecord]] = {}
        self.stamps: dict[str, str | None] = {}
        """Path -> stamp, before they were read, of the artifacts of pinned sweeps that lie in a folder of this machine."""

    def pin(self, sweep: str) -> str:
        """Read all runs of a sweep at once, so that all that this reader tells of it from now on is of one moment.

        Returns:
            A digest of all that the runs say: of tags, params, latest metrics, status, times and places of artifacts.

        Raises:
            UnknownNameError: the store holds no sweep of this name.
        """
        with readable(self.uri):
            experiment = self._experiment(sweep)
            self._pinned[sweep] = RUNS.renewed(f"{self.uri} {experiment}", self._read(experiment, None))
        return fingerprint(self._pinned[sweep])

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
            runs = [record_of(run) for run in search(self._client, list(sweep_experiments(self._client).values()), _kind("sweep"))]
        if not runs:
            raise TrackingError(f"{shown_uri(self.uri)} holds no sweep yet. Fix: run one first, or point --tracking-uri at its store")
        return max(runs, key=_last_ran).tags[schema.SWEEP]

    def runs(self, sweep: str) -> list[RunRecord]:
        """Return one record per trial of a sweep, whatever the digest that it ran under, in order of the trial ids.

        Runs whose delivery is not complete are included (`RunRecord.delivered` tells); of duplicates, the one that delivery keeps.

        Raises:
            UnknownNameError: the store holds no sweep of this name.
        """
        found: dict[str, list[RunRecord]] = {}
        for record in self._live(sweep, "trial"):
            if record.trial_id:
                found.setdefault(record.trial_id, []).append(record)
        return [kept(found[trial_id]) for trial_id in sorted(found)]

    def sweep_runs(self, sweep: str) -> list[SweepRun]:
        """Return the runs of kind `sweep`, one per digest, the one that ran last at the end.

        Raises:
            UnknownNameError: the store holds no sweep of this name.
        """
        runs = sorted(self._live(sweep, "sweep"), key=_last_ran)
        return [SweepRun(run.run_id, run.tags.get(schema.DIGEST, ""), run.tags) for run in runs]

    def side_runs(self, sweep: str, kind: str) -> list[RunRecord]:
        """Return the complete runs of another kind than trials (see `orchestrator.tracking.side_runs`), the oldest first.

        Raises:
            UnknownNameError: the store holds no sweep of this name.
        """
        return sorted((record for record in self._live(sweep, kind) if record.complete), key=lambda record: (record.started, record.run_id))

    def foreign_runs(self, sweep: str) -> list[str]:
        """Return the ids of the runs in a sweep's experiment that fairsweep did not write; raises as `runs` does."""
        return sorted(
            r.run_id for r in self._live(sweep) if schema.KIND not in r.tags or (r.tags[schema.KIND] == "trial" and not r.trial_id)
        )

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
        try:
            document = json.loads(text)
        except ValueError:
            document = None
        if not isinstance(document, dict):
            raise TrackingError(f"plan.json of sweep {sweep!r} in {shown_uri(self.uri)} is damaged. Fix: run the sweep again")
        return document

    def sweep_artifact(self, sweep: str, name: str, digest: str | None = None) -> str:
        """Return the text of one artifact of the sweep run, such as `spec.yaml`; raises as `sweep_document` does."""
        run_id = self._sweep_run(sweep, digest)
        with readable(self.uri):
            if name not in {file.path for file in self._client.list_artifacts(run_id)}:
                raise TrackingError(f"sweep {sweep!r} in {shown_uri(self.uri)} has no {name} yet. Fix: run the sweep, which records it")
            self._note(run_id, name)
            with TemporaryDirectory() as folder:
                return Path(self._client.download_artifacts(run_id, name, folder)).read_text()

    def download(self, run_id: str, artifact: str, folder: Path) -> Path:
        """Fetch one artifact (a file or a folder, such as `adapter`) of a run; return where it is."""
        self._note(run_id, artifact)
        with readable(self.uri):
            return Path(self._client.download_artifacts(run_id, artifact, str(folder)))

    def fetch(self, record: RunRecord, artifact: str, folder: Path) -> Path:
        """Fetch one file of a run, with fewer requests than `download`; return where it is."""
        with readable(self.uri):
            return artifacts.fetch(self._client, record, artifact, folder)

    def artifact_folder(self, artifact_uri: str) -> Path | None:
        """Return the folder of this machine that a run's artifacts lie in; None where they lie elsewhere."""
        return artifacts.local_folder(self.uri, artifact_uri)

    def experiment_id(self, sweep: str) -> str:
        """Return the id of a sweep's experiment; raises as `runs` does."""
        with readable(self.uri):
            return self._experiment(sweep)

    def _experiment(self, sweep: str) -> str:
        experiment = self._client.get_experiment_by_name(PREFIX + sweep)
        if experiment is None or experiment.lifecycle_stage != "active":
            raise UnknownNameError("sweep", sweep, self.sweeps())
        return str(experiment.experiment_id)

    def _note(self, run_id: str, artifact: str) -> None:
        uri = next((record.artifact_uri for records in self._pinned.values() for record in records if record.run_id == run_id), "")
        if folder := self.artifact_folder(uri):
            self.stamps[str(folder / artifact)] = artifacts.stamp(folder / artifact)

    def _sweep_run(self, sweep: str, digest: str | None) -> str:
        """Return the id of the run of a sweep's digest, of its newest one when None."""
        known = {run.digest: run.run_id for run in self.sweep_runs(sweep)}
        if not known or (digest is not None and digest not in known):
            reason = f"no digest {digest!r}. {suggestion(digest, known)}" if digest and known else "no plan yet"
            raise TrackingError(f"sweep {sweep!r} in {shown_uri(self.uri)} has {reason} Fix: run the sweep, which records its plan")
        return known[digest] if digest is not None else list(known.values())[-1]

    def _live(self, sweep: str, kind: str | None = None) -> list[RunRecord]:
        """Return the runs of a sweep's experiment, of one kind or all, in no order."""
        if sweep in self._pinned:
            return [record for record in self._pinned[sweep] if kind is None or record.tags.get(schema.KIND) == kind]
        with readable(self.uri):
            return self._read(self._experiment(sweep), kind)

    def _read(self, experiment: str, kind: str | None) -> list[RunRecord]:
        engine = engine_of(self._client)
        if engine is not None:
            return live_runs(engine, experiment, kind)
        found = search(self._client, [experiment], _kind(kind) if kind else "")
        # Runs that are added meanwhile can bring one to a second page.
        return list({run.info.run_id: record_of(run) for run in found}.values())


def _kind(kind: str) -> str:
    return f"tags.`{schema.KIND}` = '{kind}'"


def _last_ran(run: RunRecord) -> tuple[float, str]:
    try:
        return float(run.tags.get(RAN, 0)), run.run_id
    except ValueError:
        return 0.0, run.run_id
