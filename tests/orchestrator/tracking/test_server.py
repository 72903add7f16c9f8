"""Delivery through a real server with logins on PostgreSQL: exactly once, whatever server, database and rivals do."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psycopg
import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from orchestrator.tracking.connection import AccessError, connect
from orchestrator.tracking.deliverer import Deliverer
from orchestrator.tracking.delivery import Tracker
from orchestrator.tracking.records import RunReader
from orchestrator.tracking.schema import finals_of
from tests.services.postgres import Postgres
from tests.services.tracking_server import TrackingServer
from trainers.outcomes import OutcomeStore

pytestmark = pytest.mark.services
Add = Callable[..., str]


def runs_of(server: TrackingServer, sweep: str) -> list[Any]:
    client = connect(server.uri)
    experiment = client.get_experiment_by_name(f"fairsweep/{sweep}")
    return list(client.search_runs([experiment.experiment_id], "tags.`fairsweep.kind` = 'trial'", max_results=1000))


def fill(store: OutcomeStore, trial_of: Any, outcome_of: Any, trials: int) -> None:
    for seed in range(trials):
        trial = trial_of(seed=seed)
        staging = store.staging(trial.id, "a1")
        (staging / "adapter").mkdir()
        for name in ("adapter/adapter.safetensors", "predictions.parquet"):
            (staging / name).write_bytes(b"content")
        store.commit(trial, outcome_of(trial), staging)


def assert_each_once(server: TrackingServer, sweep: str, store: OutcomeStore) -> None:
    """Every Outcome has exactly one live run, which is complete: all values, all files, its status."""
    client = connect(server.uri)
    runs = runs_of(server, sweep)
    assert Counter(run.data.tags["fairsweep.trial"] for run in runs) == Counter(store.ids())
    for run in runs:
        outcome = store.read(run.data.tags["fairsweep.trial"])
        assert outcome is not None
        assert run.data.tags["fairsweep.delivered"] == run.data.tags["fairsweep.outcome"]
        assert run.data.metrics.keys() == finals_of(outcome).keys() | outcome.curves.keys()
        assert (run.info.status, run.data.params["seed"]) == ("FINISHED", str(store.trial(outcome.trial_id).seed))
    for run in runs[:2]:
        assert len(client.get_metric_history(run.info.run_id, "train/loss")) == 6
        files = {file.path for folder in ("", "adapter") for file in client.list_artifacts(run.info.run_id, folder)}
        assert files >= {"outcome.json", "trial.json", "predictions.parquet", "adapter/adapter.safetensors"}


def test_a_user_delivers_and_reads_back(server: TrackingServer, store: OutcomeStore, finished: Add, tmp_path: Path) -> None:
    trial_id = finished()
    with server.logged_in(server.user("writer")):
        with Deliverer(Tracker(server.uri, "user", "d"), store) as deliverer:
            deliverer.put_sweep({"plan.json": "{}"}, "finished", now=1.0)
        assert_each_once(server, "user", store)
        reader = RunReader(server.uri)
        (record,) = reader.runs("user")
        assert record.trial.id == trial_id and record.outcome.metrics["selection/f1"] == 0.5
        assert reader.sweep_document("user") == {}
        assert (reader.download(record.run_id, "adapter", tmp_path) / "adapter.safetensors").read_bytes() == b"weights"


@pytest.mark.parametrize(
    ("credentials", "said"),
    [
        ({}, "none of MLFLOW_TRACKING_USERNAME, MLFLOW_TRACKING_PASSWORD, MLFLOW_TRACKING_TOKEN is set"),
        ({"MLFLOW_TRACKING_USERNAME": "admin", "MLFLOW_TRACKING_PASSWORD": "wrong-password"}, "what MLFLOW_TRACKING_USERNAME and"),
    ],
)
def test_a_missing_or_wrong_login_is_one_error_with_its_fix(
    logged_in: TrackingServer, monkeypatch: pytest.MonkeyPatch, credentials: dict[str, str], said: str
) -> None:
    with logged_in.logged_in(credentials), pytest.raises(AccessError, match="asks for a login") as caught:
        RunReader(logged_in.uri).sweeps()
    assert said in str(caught.value) and "Fix: set MLFLOW_TRACKING_USERNAME" in str(caught.value)
    assert "wrong-" not in str(caught.value)


def test_what_another_user_owns_is_refused_with_the_fix(logged_in: TrackingServer, store: OutcomeStore, finished: Add) -> None:
    Tracker(logged_in.uri, "owned", "d").deliver(store, finished(seed=1))
    with logged_in.logged_in(logged_in.user("other")):
        assert len(RunReader(logged_in.uri).runs("owned")) == 1
        with pytest.raises(AccessError, match="grant you EDIT"):
            Tracker(logged_in.uri, "owned", "d").deliver(store, finished(seed=2))


def test_results_wait_for_a_login_that_is_put_right(
    logged_in: TrackingServer, store: OutcomeStore, finished: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    password = logged_in.credentials["MLFLOW_TRACKING_PASSWORD"]
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "expired")
    with Deliverer(Tracker(logged_in.uri, "expired", "d"), store, longest_wait=0.2) as deliverer:
        deliverer.put(finished())
        while not isinstance(deliverer.away, AccessError):
            time.sleep(0.01)
        monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)
        assert deliverer.close(timeout=60) == ()
    assert_each_once(logged_in, "expired", store)


def test_results_wait_while_the_server_is_down_and_arrive_once_it_is_back(
    logged_in: TrackingServer, store: OutcomeStore, finished: Add
) -> None:
    for seed in range(3):
        finished(seed=seed)
    with Deliverer(Tracker(logged_in.uri, "outage", "d"), store, longest_wait=0.5) as deliverer:
        while len(deliverer.undelivered()) == 3:
            time.sleep(0.01)
        logged_in.stop(kill=True)
        for seed in range(3, 6):
            deliverer.put(finished(seed=seed))
        while deliverer.away is None:
            time.sleep(0.01)
        assert len(deliverer.close(timeout=0.5)) >= 3
    logged_in.start()
    with Deliverer(Tracker(logged_in.uri, "outage", "d"), store, longest_wait=0.5) as deliverer:
        assert deliverer.close(timeout=60) == ()
    assert_each_once(logged_in, "outage", store)


def test_a_request_that_the_server_carries_out_late_leaves_no_second_run(
    logged_in: TrackingServer, postgres: Postgres, store: OutcomeStore, finished: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Deliverer(Tracker(logged_in.uri, "late", "d"), store, longest_wait=0.2) as deliverer:
        deliverer.put_sweep({}, "running", now=1.0)
        while deliverer.undelivered():
            time.sleep(0.01)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
        with psycopg.connect(postgres.uri("mlflow")) as lock:
            lock.execute("LOCK TABLE runs IN EXCLUSIVE MODE")
            deliverer.put(finished())
            while deliverer.away is None:
                time.sleep(0.01)
            time.sleep(3)
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")
        assert deliverer.close(timeout=60) == ()
    assert_each_once(logged_in, "late", store)
    experiment = MlflowClient(logged_in.uri).get_experiment_by_name("fairsweep/late").experiment_id
    deleted = MlflowClient(logged_in.uri).search_runs([experiment], run_view_type=ViewType.DELETED_ONLY)
    assert deleted, "the server carried out no request late: this test shows nothing"


def test_a_database_that_restarts_under_load_loses_and_doubles_nothing(
    logged_in: TrackingServer, postgres: Postgres, trial_of: Any, outcome_of: Any, tmp_path: Path
) -> None:
    sweeps = [f"restart-{number}" for number in range(3)]
    stores = {sweep: OutcomeStore(tmp_path / sweep) for sweep in sweeps}
    for filled in stores.values():
        fill(filled, trial_of, outcome_of, 12)
    stop = threading.Event()

    def restart() -> None:
        for mode in ("fast", "immediate", "fast"):
            if not stop.wait(1.0):
                postgres.restart(mode, down_seconds=0.5)

    def deliver(sweep: str) -> tuple[str, ...]:
        with Deliverer(Tracker(logged_in.uri, sweep, "d"), stores[sweep], longest_wait=0.5) as deliverer:
            return deliverer.close(timeout=180)

    with ThreadPoolExecutor(4) as pool:
        restarts, delivered = pool.submit(restart), [pool.submit(deliver, sweep) for sweep in sweeps]
        try:
            assert [future.result() for future in delivered] == [(), (), ()]
        finally:
            stop.set()
        restarts.result()
    for sweep in sweeps:
        assert_each_once(logged_in, sweep, stores[sweep])


def test_several_deliverers_of_one_store_at_once_make_one_run_of_each_trial(
    logged_in: TrackingServer, store: OutcomeStore, finished: Add
) -> None:
    for seed in range(8):
        finished(seed=seed)
    code = """
import sys
from orchestrator.tracking.deliverer import Deliverer
from orchestrator.tracking.delivery import Tracker
from trainers.outcomes import OutcomeStore
with Deliverer(Tracker(sys.argv[1], "rivals", "d"), OutcomeStore(sys.argv[2])) as deliverer:
    sys.exit(len(deliverer.close(timeout=120)))
"""
    command = [sys.executable, "-c", code, logged_in.uri, str(store.root)]
    rivals = [subprocess.Popen(command) for _ in range(3)]
    assert [rival.wait(timeout=180) for rival in rivals] == [0, 0, 0]
    assert_each_once(logged_in, "rivals", store)


def test_two_machines_that_ran_the_same_trials_leave_one_run_of_each(
    logged_in: TrackingServer, outcome_of: Any, trial_of: Any, tmp_path: Path
) -> None:
    """Each has its own storage, so that their Outcomes differ; either may stay, but whole."""
    stores = [OutcomeStore(tmp_path / name) for name in ("here", "there")]
    trials = [trial_of(seed=seed) for seed in range(6)]
    for number, store in enumerate(stores):
        for trial in trials:
            store.commit(trial, outcome_of(trial, attempt=f"machine-{number}", ended=1_700_000_060.0 + number))

    def deliver(store: OutcomeStore) -> tuple[str, ...]:
        with Deliverer(Tracker(logged_in.uri, "machines", "d"), store) as deliverer:
            return deliverer.close(timeout=120)

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(deliver, stores)) == [(), ()]
    assert Counter(run.data.tags["fairsweep.trial"] for run in runs_of(logged_in, "machines")) == Counter(trial.id for trial in trials)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(deliver, stores)) == [(), ()]
    records = RunReader(logged_in.uri).runs("machines")
    assert [record.trial_id for record in records] == sorted(trial.id for trial in trials)
    assert all(record.delivered for record in records)
    assert len(runs_of(logged_in, "machines")) == len(trials)


def test_one_trial_takes_few_requests(logged_in: TrackingServer, store: OutcomeStore, finished: Add) -> None:
    """A run, the look for rivals, the values, the status, and one for each file."""

    def requests() -> int:
        return sum(" /api/2.0/mlflow" in line and "HTTP/1.1" in line for line in logged_in.log_text().splitlines())

    with Deliverer(Tracker(logged_in.uri, "requests", "d"), store) as deliverer:
        deliverer.put(finished(seed=0))
        while deliverer.undelivered():
            time.sleep(0.01)
        before = requests()
        for seed in range(1, 4):
            deliverer.put(finished(seed=seed))
        assert deliverer.close(timeout=60) == ()
    with store.files(next(iter(store.ids()))) as folder:
        files = sum(path.is_file() for path in folder.rglob("*"))
    assert requests() - before == 3 * (4 + files)
