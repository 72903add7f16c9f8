"""Reading a database in bulk gives what a search through MLflow gives, record by record."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from orchestrator.tracking.bulk import _moment, engine_of, live_runs
from orchestrator.tracking.connection import connect, search
from orchestrator.tracking.delivery import Tracker
from orchestrator.tracking.records import RunReader
from orchestrator.tracking.run_record import RunRecord, fingerprint, record_of
from tests.services.postgres import Postgres
from trainers.outcomes import OutcomeStore

Add = Callable[..., str]


def fill(uri: str, sweep: str, store: OutcomeStore, finished: Add) -> str:
    """Runs of every kind: delivered, half-written, failed, deleted, foreign, with odd values; return the experiment's id."""
    tracker, client = Tracker(uri, sweep, "d"), connect(uri)
    tracker.deliver_sweep({}, "running", now=1.0)
    long = {"name": "lora", "version": "v", "capacity": {"rank": 4}, "settings": {"names": [f"läyer {n}" for n in range(3000)]}}
    failure: dict[str, Any] = {"status": "diverged", "error": "loss is NaN", "metrics": {}, "best_step": None}
    run_ids = [tracker.deliver(store, trial) for trial in (finished(seed=1), finished(method=long), finished(outcome=failure, seed=2))]
    half, gone = (tracker.deliver(store, finished(seed=seed)) for seed in (3, 4))
    client.delete_tag(half, "fairsweep.delivered")
    client.delete_run(gone)
    experiment = tracker.experiment_id()
    foreign = client.create_run(experiment).info.run_id
    for name, value in {"nan": float("nan"), "large": float("inf"), "small": -float("inf"), "tiny": 5e-324, "third": 1 / 3}.items():
        client.log_metric(foreign, name, value)
    client.log_metric(run_ids[0], "selection/f1", 0.25, step=100)
    client.log_param(foreign, "long", "x" * 3000)
    client.set_tag(foreign, "note", "<script>\u202e' \" %s :x")
    return experiment


def comparable(records: list[RunRecord]) -> dict[str, str]:
    """The records by run, NaN included, which equals nothing."""
    return {record.run_id: fingerprint([record]) for record in records}


def assert_equal(uri: str, experiment: str) -> None:
    client = connect(uri)
    engine = engine_of(client)
    assert engine is not None
    for kind, condition in ((None, ""), ("trial", "tags.`fairsweep.kind` = 'trial'"), ("sweep", "tags.`fairsweep.kind` = 'sweep'")):
        searched = [record_of(run) for run in search(client, [experiment], condition)]
        assert searched and comparable(live_runs(engine, experiment, kind)) == comparable(searched)


def test_every_record_is_that_of_a_search(uri: str, client: MlflowClient, store: OutcomeStore, finished: Add) -> None:
    client.create_run(client.create_experiment("fairsweep/beside"), tags={"fairsweep.kind": "trial"})
    assert_equal(uri, fill(uri, "bulk", store, finished))


@pytest.mark.services
def test_every_record_of_postgresql_is_that_of_a_search(
    postgres: Postgres, store: OutcomeStore, finished: Add, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Without a server before it, MLflow puts artifacts into the working folder.
    monkeypatch.chdir(tmp_path)
    assert_equal(uri := postgres.database("bulk"), fill(uri, "bulk", store, finished))


@pytest.mark.services
def test_all_queries_see_one_moment(postgres: Postgres) -> None:
    client = connect(uri := postgres.database("moments"))
    experiment, engine = client.create_experiment("runs"), engine_of(client)
    assert engine is not None
    count = "SELECT count(*) FROM runs"
    with _moment(engine) as connection:
        assert connection.exec_driver_sql(count).scalar() == 0
        MlflowClient(uri).create_run(experiment)
        assert connection.exec_driver_sql(count).scalar() == 0
    with _moment(engine) as connection:
        assert connection.exec_driver_sql(count).scalar() == 1


def test_what_was_read_holds_no_lock(uri: str, client: MlflowClient) -> None:
    experiment, engine = client.create_experiment("unlocked"), engine_of(client)
    assert engine is not None
    assert live_runs(engine, experiment) == []
    client.create_run(experiment)
    assert len(live_runs(engine, experiment)) == 1


def test_a_server_has_no_database_for_us() -> None:
    assert engine_of(MlflowClient("http://127.0.0.1:9")) is None


def test_a_pinned_reader_tells_of_one_moment(uri: str, client: MlflowClient, store: OutcomeStore, finished: Add) -> None:
    fill(uri, "pinned", store, finished)
    reader = RunReader(uri)
    state, before = reader.pin("pinned"), reader.runs("pinned")
    assert len(before) == 4 and len(reader.foreign_runs("pinned")) == 1
    client.delete_run(before[0].run_id)
    assert reader.runs("pinned") == before
    other = RunReader(uri)
    assert other.pin("pinned") != state and len(other.runs("pinned")) == 3
    client.restore_run(before[0].run_id)
    assert RunReader(uri).pin("pinned") == state
