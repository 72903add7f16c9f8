"""Runs beside the trials: what belongs to a sweep's experiment without being a trial of it, such as references and sentinels.

A kind of its own keeps them apart: whoever reads trials asks for the kind `trial`, and never meets them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Literal

from orchestrator.tracking import schema
from orchestrator.tracking.connection import connect, readable, search
from orchestrator.tracking.records import RunRecord, record_of

if TYPE_CHECKING:
    from mlflow import MlflowClient

Kind = Literal["reference", "sentinel"]


@dataclass(frozen=True)
class SideRun:
    """What a run beside the trials holds.

    Attributes:
        name: what it is called within its kind: there is one live run of each name.
        title: what MLflow's page calls it.
        started: Unix time in seconds.
        tags: besides those of every such run.
        files: text artifacts by file name.
        points: values of metrics.
    """

    kind: Kind
    name: str
    title: str
    started: float
    ended: float
    tags: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    points: Sequence[schema.Point] = ()

    @property
    def content(self) -> str:
        """The SHA-256, in hexadecimal, of its files."""
        return hashlib.sha256(json.dumps(sorted(self.files.items())).encode()).hexdigest()


class SideRuns:
    """Delivers the runs beside a sweep's trials. It connects at its first use.

    Args:
        uri: tracking URI.
        sweep: the sweep's name; its experiment is made where it is missing.
        client: a client of `uri`, in place of one of its own.
    """

    def __init__(self, uri: str, sweep: str, client: MlflowClient | None = None) -> None:
        self.uri, self.sweep = uri, sweep
        self._given = client

    @cached_property
    def _client(self) -> MlflowClient:
        return self._given or connect(self.uri)

    def put(self, run: SideRun) -> str:
        """Bring a run to MLflow, in the place of an earlier one of its name; return its id. The same content again changes nothing.

        Raises:
            AwayError: the tracking store does not answer.
            TrackingError: the tracking store refuses.
        """
        with readable(self.uri):
            experiment = self._experiment()
            found = self._found(experiment, run)
            same = [record for record in found if record.tags.get(schema.CONTENT) == run.content and record.complete]
            kept = same[0].run_id if same else self._created(experiment, run)
            for record in found:
                if record.run_id != kept:
                    self._client.delete_run(record.run_id)
            return kept

    def keep_first(self, run: SideRun) -> str:
        """Bring a run to MLflow unless there is a complete one of its name; return the id of the one that is there."""
        with readable(self.uri):
            experiment = self._experiment()
            complete = [record for record in self._found(experiment, run) if record.complete]
            return complete[0].run_id if complete else self._created(experiment, run)

    def _experiment(self) -> str:
        # Loads pyarrow, which those who only read do not need.
        from orchestrator.tracking.delivery import Tracker

        return Tracker(self.uri, self.sweep, "", self._client).experiment_id()

    def _found(self, experiment: str, run: SideRun) -> list[RunRecord]:
        """Return the live runs of a run's kind and name, the oldest first."""
        runs = search(self._client, [experiment], f"tags.`{schema.KIND}` = '{run.kind}'")
        records = [record_of(found) for found in runs if found.data.tags.get(schema.NAME) == run.name]
        return sorted(records, key=lambda record: (record.started, record.run_id))

    def _created(self, experiment: str, run: SideRun) -> str:
        from mlflow.entities import Metric, RunTag

        tags = {schema.KIND: run.kind, schema.SWEEP: self.sweep, schema.NAME: run.name, schema.CONTENT: run.content, **run.tags}
        made = self._client.create_run(experiment, int(run.started * 1000), tags, run.title[:250])
        run_id = str(made.info.run_id)
        for name, text in run.files.items():
            self._client.log_text(run_id, text, name)
        points = [Metric(point.key, point.value, point.timestamp, point.step) for point in run.points]
        # The tag says that the run is complete, so it comes last.
        self._client.log_batch(run_id, points, tags=[RunTag(schema.DELIVERED, run.content)])
        self._client.set_terminated(run_id, "FINISHED", int(run.ended * 1000))
        return run_id
