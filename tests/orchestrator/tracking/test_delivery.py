"""Delivery to MLflow: what a run holds, and that interruptions, rivals and deletions leave exactly one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import ViewType

from orchestrator.tracking.connection import AwayError, tracking_uri
from orchestrator.tracking.delivery import Tracker
from search_spaces.errors import StorageError, TrackingError
from trainers.outcomes import OutcomeStore

Add = Callable[..., str]


class Killed(BaseException):
    """Stands for the end of the process."""


class Dying:
    """A real client whose process dies before its call number `after`."""

    def __init__(self, client: MlflowClient, after: int) -> None:
        self._client, self._left = client, after

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if self._left == 0:
                raise Killed
            self._left -= 1
            return getattr(self._client, name)(*args, **kwargs)

        return call


def dying_sessions(session: Any, after: int) -> Any:
    """A maker of database sessions whose process dies before it commits transaction number `after`."""
    left = [after]

    @contextmanager
    def dying(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with session(*args, **kwargs) as opened:
            yield opened
            left[0] -= 1
            if left[0] < 0:
                raise Killed

    return dying


def live_runs(client: MlflowClient, sweep: str, trial_id: str | None = None) -> list[Any]:
    experiment = client.get_experiment_by_name(f"fairsweep/{sweep}")
    runs = client.search_runs([experiment.experiment_id]) if experiment else []
    return [run for run in runs if trial_id in (None, run.data.tags.get("fairsweep.trial"))]


def content(client: MlflowClient, run: Any) -> dict[str, Any]:
    """Everything that a user sees of a run, but for its id and its sweep."""
    history = {key: [(m.step, m.value, m.timestamp) for m in client.get_metric_history(run.info.run_id, key)] for key in run.data.metrics}
    files = sorted(f.path for folder in ("", "adapter") for f in client.list_artifacts(run.info.run_id, folder))
    tags = {key: value for key, value in run.data.tags.items() if key != "fairsweep.sweep"}
    times = (run.info.status, run.info.start_time, run.info.end_time)
    return {
        "tags": tags,
        "params": run.data.params,
        "metrics": run.data.metrics,
        "history": history,
        "files": files,
        "times": times,
    }


def only_run(client: MlflowClient, sweep: str, trial_id: str) -> Any:
    (run,) = live_runs(client, sweep, trial_id)
    return run


def test_a_run_holds_the_trial_as_documented(uri: str, client: MlflowClient, store: OutcomeStore, finished: Add) -> None:
    trial_id = finished()
    run_id = Tracker(uri, "schema", "d1g3st").deliver(store, trial_id)
    run = client.get_run(run_id)
    tags = {key.removeprefix("fairsweep."): value for key, value in run.data.tags.items() if key.startswith("fairsweep.")}
    expected = {"kind": "trial", "trial": trial_id, "sweep": "schema", "digest": "d1g3st", "phase": "select", "method": "lora"}
    expected |= {"task": "squad", "model": "micro-llama", "status": "finished", "environment": "e0", "seed": "100"}
    assert {key: tags[key] for key in expected} == expected
    assert run.info.run_name == "lora rank=4 learning_rate=0.001 seed 100 (select)"
    params = {
        "learning_rate": "0.001",
        "batch_size": "2",
        "capacity/rank": "4",
        "seed": "100",
        "trainable": "1236",
        "digest/train": "t0",
    }
    assert {key: run.data.params[key] for key in params} == params
    metrics = {"train/loss": 0.5, "selection/f1": 0.5, "profile/seconds_per_step": 0.5, "profile/peak_bytes": 1e9}
    metrics |= {"profile/flops": 1e12, "profile/macs": 5e11, "profile/adapter_bytes": 4936.0, "profile/load_seconds": 0.25}
    metrics |= {"usage/text_tokens": 480.0, "usage/target_tokens": 60.0, "usage/virtual_tokens": 48.0}
    assert {key: run.data.metrics[key] for key in metrics} == metrics
    assert [(m.step, m.value) for m in client.get_metric_history(run_id, "train/loss")] == [(k, 3.0 / k) for k in range(1, 7)]
    files = {f.path for folder in ("", "adapter") for f in client.list_artifacts(run_id, folder)}
    assert files >= {"adapter/adapter.safetensors", "predictions.parquet", "trial.json", "outcome.json"}
    assert (run.info.status, run.info.start_time, run.info.end_time) == ("FINISHED", 1_700_000_000_250, 1_700_000_060_500)


def test_the_final_value_is_the_kept_step_and_not_the_last_one(uri: str, client: MlflowClient, store: OutcomeStore, finished: Add) -> None:
    run_id = Tracker(uri, "final", "d").deliver(store, finished())
    assert client.get_run(run_id).data.metrics["selection/f1"] == 0.5
    assert [(m.step, m.value) for m in client.get_metric_history(run_id, "selection/f1")] == [(3, 0.5), (6, 0.4), (6, 0.5)]


@pytest.mark.parametrize("status", ["diverged", "out_of_memory", "error"])
def test_a_failed_trial_is_a_failed_run_that_says_why(
    uri: str, client: MlflowClient, store: OutcomeStore, finished: Add, status: str
) -> None:
    failure: dict[str, Any] = {
        "status": status,
        "error": "cannot reach https://me:secret@hub/x\nTraceback: secret",
        "metrics": {},
        "best_step": None,
        "counts": None,
    }
    run_id = Tracker(uri, f"failed-{status.replace('_', '-')}", "d").deliver(store, finished(outcome=failure))
    run = client.get_run(run_id)
    assert (run.info.status, run.data.tags["fairsweep.status"]) == ("FAILED", status)
    assert run.data.tags["fairsweep.error"] == "cannot reach https://***@hub/x"


def test_of_a_stack_trace_the_tag_holds_what_it_ends_with(uri: str, client: MlflowClient, store: OutcomeStore, finished: Add) -> None:
    trace = 'Traceback (most recent call last):\n  File "x.py", line 1, in run\n    step()\nRuntimeError: no such layer'
    run_id = Tracker(uri, "trace", "d").deliver(store, finished(outcome={"status": "error", "error": trace}))
    assert client.get_run(run_id).data.tags["fairsweep.error"] == "RuntimeError: no such layer"


def test_values_beyond_the_limits_of_mlflow_are_kept_readable(uri: str, client: MlflowClient, store: OutcomeStore, finished: Add) -> None:
    names = [f"layer-{number}-é" for number in range(2000)]
    curve = [(step, 1.0 / step) for step in range(1, 2501)]
    method = {
        "name": "lora",
        "version": "v",
        "capacity": {"rank": 4},
        "settings": {"names": names, **{f"s{i}": i for i in range(150)}},
    }
    trial_id = finished(method=method, outcome={"curves": {"train/loss": curve}, "error": "x" * 10_000})
    run_id = Tracker(uri, "limits", "d").deliver(store, trial_id)
    run = client.get_run(run_id)
    assert run.data.params["setting/names"].endswith(" characters)")
    assert len([key for key in run.data.params if key.startswith("setting/s")]) == 150
    assert len(client.get_metric_history(run_id, "train/loss")) == 2500


def test_delivering_again_changes_nothing(uri: str, client: MlflowClient, store: OutcomeStore, finished: Add) -> None:
    tracker, trial_id = Tracker(uri, "twice", "d"), finished()
    tracker.deliver(store, trial_id)
    before = content(client, only_run(client, "twice", trial_id))
    tracker.deliver(store, trial_id)
    assert content(client, only_run(client, "twice", trial_id)) == before


def test_death_before_any_call_leaves_one_complete_run(uri: str, client: MlflowClient, store: OutcomeStore, finished: Add) -> None:
    trial_id = finished()
    Tracker(uri, "undisturbed", "d").deliver(store, trial_id)
    expected = content(client, only_run(client, "undisturbed", trial_id))
    for calls in range(50):
        sweep = f"killed-{calls}"
        try:
            Tracker(uri, sweep, "d", Dying(client, calls)).deliver(store, trial_id)  # type: ignore[arg-type]
        except Killed:
            assert trial_id not in Tracker(uri, sweep, "d").known_trials()
            Tracker(uri, sweep, "d").deliver(store, trial_id)
        else:
            break
        assert content(client, only_run(client, sweep, trial_id)) == expected
    assert 5 < calls < 49


def test_death_in_any_transaction_leaves_one_complete_run(
    uri: str, client: MlflowClient, store: OutcomeStore, finished: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    trial_id = finished()
    Tracker(uri, "transactions", "d").deliver(store, trial_id)
    expected = content(client, only_run(client, "transactions", trial_id))
    backend = client._tracking_client.store
    for count in range(100):
        sweep = f"transaction-{count}"
        with monkeypatch.context() as patch:
            patch.setattr(backend, "ManagedSessionMaker", dying_sessions(backend.ManagedSessionMaker, count))
            try:
                Tracker(uri, sweep, "d", client).deliver(store, trial_id)
                break
            except Killed:
                pass
        Tracker(uri, sweep, "d").deliver(store, trial_id)
        assert content(client, only_run(client, sweep, trial_id)) == expected
    assert 10 < count < 99


DRIVER = """
import sys
from pathlib import Path
from orchestrator.tracking.delivery import Tracker
from trainers.outcomes import OutcomeStore
store = OutcomeStore(Path(sys.argv[1]))
for trial_id in store.ids():
    print(Tracker(sys.argv[2], "kill-9", "d").deliver(store, trial_id), flush=True)
"""


def test_kill_9_of_the_process_leaves_one_complete_run_of_each_trial(
    uri: str, client: MlflowClient, store: OutcomeStore, finished: Add
) -> None:
    ids = [finished(seed=seed) for seed in range(30)]
    driver = subprocess.Popen([sys.executable, "-c", DRIVER, str(store.root), uri], stdout=subprocess.PIPE)
    assert driver.stdout is not None
    for _ in range(5):
        assert driver.stdout.readline()
    time.sleep(0.02)
    os.kill(driver.pid, signal.SIGKILL)
    driver.wait()
    done = Tracker(uri, "kill-9", "d").known_trials()
    assert 5 <= len(done) < len(ids)
    for trial_id in ids:
        Tracker(uri, "kill-9", "d").deliver(store, trial_id)
    assert {run.data.tags["fairsweep.trial"] for run in live_runs(client, "kill-9")} == set(ids)
    assert len(live_runs(client, "kill-9")) == len(ids)
    assert {len(client.get_metric_history(run.info.run_id, "train/loss")) for run in live_runs(client, "kill-9")} == {6}


def test_of_two_half_written_runs_the_lowest_id_is_completed(uri: str, client: MlflowClient, store: OutcomeStore, finished: Add) -> None:
    tracker, trial_id = Tracker(uri, "rivals", "d"), finished()
    first = tracker.deliver(store, trial_id)
    client.delete_tag(first, "fairsweep.delivered")
    run = client.get_run(first)
    second = client.create_run(run.info.experiment_id, tags=run.data.tags).info.run_id
    assert tracker.deliver(store, trial_id) == min(first, second)
    assert only_run(client, "rivals", trial_id).info.run_id == min(first, second)
    assert len(client.get_metric_history(min(first, second), "train/loss")) == 6


def test_a_complete_run_stays_before_a_half_written_one(uri: str, client: MlflowClient, store: OutcomeStore, finished: Add) -> None:
    tracker, trial_id = Tracker(uri, "complete-first", "d"), finished()
    complete = tracker.deliver(store, trial_id)
    half = {key: value for key, value in client.get_run(complete).data.tags.items() if key != "fairsweep.delivered"}
    for _ in range(6):
        client.create_run(client.get_run(complete).info.experiment_id, tags=half)
    assert tracker.reconcile().keys() == {trial_id}
    assert only_run(client, "complete-first", trial_id).info.run_id == complete


def test_a_deleted_experiment_is_restored_with_one_run_per_trial(
    uri: str, client: MlflowClient, store: OutcomeStore, finished: Add
) -> None:
    tracker, trial_id = Tracker(uri, "deleted", "d"), finished()
    kept = tracker.deliver(store, trial_id)
    twin = client.create_run(client.get_run(kept).info.experiment_id, tags=client.get_run(kept).data.tags).info.run_id
    client.delete_run(max(kept, twin))
    client.delete_experiment(client.get_run(kept).info.experiment_id)
    assert tracker.reconcile().keys() == {trial_id}
    assert only_run(client, "deleted", trial_id).info.run_id == min(kept, twin)
    tracker.deliver(store, finished(seed=101))
    assert len(live_runs(client, "deleted")) == 2


def test_a_failure_gives_way_to_its_repetition_and_a_result_does_not(
    uri: str, client: MlflowClient, store: OutcomeStore, finished: Add
) -> None:
    tracker = Tracker(uri, "retried", "d")
    failed = {"status": "error", "error": "boom", "metrics": {}}
    trial_id = finished(outcome=failed)
    tracker.deliver(store, trial_id)
    assert tracker.known_trials() == {trial_id}
    assert tracker.known_trials(failed=False) == set()
    store.set_aside(trial_id, "retry")
    finished(outcome={"attempt": "a2"})
    run_id = tracker.deliver(store, trial_id)
    assert only_run(client, "retried", trial_id).info.run_id == run_id
    assert client.get_run(run_id).data.tags["fairsweep.status"] == "finished"
    store.set_aside(trial_id, "elsewhere")
    finished(outcome={"attempt": "a3", "metrics": {"selection/f1": 0.9}})
    assert tracker.deliver(store, trial_id) == run_id
    assert only_run(client, "retried", trial_id).data.metrics["selection/f1"] == 0.5


def test_a_damaged_outcome_is_not_delivered(uri: str, client: MlflowClient, store: OutcomeStore, finished: Add) -> None:
    trial_id = finished()
    (store.folder(trial_id) / "outcome.json").write_text("{}")
    with pytest.raises(StorageError, match="checksum"):
        Tracker(uri, "damaged", "d").deliver(store, trial_id)
    assert live_runs(client, "damaged") == []


def test_the_sweep_run_is_one_per_digest_and_follows_the_sweep(uri: str, client: MlflowClient) -> None:
    tracker = Tracker(uri, "sweep-run", "aaaa")
    documents = {"spec.yaml": "name: sweep-run\n", "plan.json": json.dumps({"trials": 2}), "certificate.json": "{}"}
    run_id = tracker.deliver_sweep(documents, "running", now=100.0)
    assert client.get_run(run_id).info.status == "RUNNING"
    assert tracker.deliver_sweep(documents, "finished", now=200.0) == run_id
    run = client.get_run(run_id)
    assert (run.info.status, run.info.end_time, run.data.tags["fairsweep.status"]) == ("FINISHED", 200_000, "finished")
    assert {f.path for f in client.list_artifacts(run_id)} == set(documents)
    assert tracker.deliver_sweep(documents, "running", now=300.0) == run_id
    assert client.get_run(run_id).info.status == "RUNNING"
    assert Tracker(uri, "sweep-run", "bbbb").deliver_sweep(documents, "finished", now=400.0) != run_id
    assert len(live_runs(client, "sweep-run")) == 2


def test_death_before_any_call_leaves_one_sweep_run(uri: str, client: MlflowClient) -> None:
    for calls in range(30):
        sweep = f"sweep-killed-{calls}"
        try:
            Tracker(uri, sweep, "d", Dying(client, calls)).deliver_sweep({"plan.json": "{}"}, "finished", 1.0)  # type: ignore[arg-type]
            break
        except Killed:
            Tracker(uri, sweep, "d").deliver_sweep({"plan.json": "{}"}, "finished", 1.0)
        (run,) = live_runs(client, sweep)
        assert run.info.status == "FINISHED"
    assert 5 < calls < 29


def test_artifacts_of_a_sqlite_store_lie_beside_it(uri: str, client: MlflowClient, store: OutcomeStore, finished: Add) -> None:
    Tracker(uri, "beside", "d").deliver(store, finished())
    folder = Path(uri.removeprefix("sqlite:///")).parent / "artifacts" / "beside"
    assert [path.read_bytes() for path in folder.rglob("adapter.safetensors")] == [b"weights"]


def test_a_server_that_does_not_answer_is_named(store: OutcomeStore, finished: Add, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(AwayError, match=r"http://127.0.0.1:9 does not answer"):
        Tracker("http://127.0.0.1:9", "away", "d").deliver(store, finished())


@pytest.mark.parametrize("uri", ["http://me:secret@127.0.0.1:9", "https://token-secret@host/x", "http://me:sec/ret@127.0.0.1:9"])
def test_a_server_uri_with_credentials_is_refused_and_not_repeated(uri: str, store: OutcomeStore, finished: Add) -> None:
    with pytest.raises(TrackingError, match="set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD") as caught:
        Tracker(uri, "credentials", "d").deliver(store, finished())
    assert not [word for word in ("secret", "ret@", "me:") if word in str(caught.value)]
    with pytest.raises(TrackingError, match="holds a user name or a password"):
        tracking_uri(uri)


def test_deleted_runs_stay_deleted(uri: str, client: MlflowClient, store: OutcomeStore, finished: Add) -> None:
    tracker, trial_id = Tracker(uri, "removed", "d"), finished()
    removed = tracker.deliver(store, trial_id)
    client.delete_run(removed)
    again = tracker.deliver(store, trial_id)
    assert again != removed
    experiment = client.get_run(again).info.experiment_id
    assert [run.info.run_id for run in client.search_runs([experiment], run_view_type=ViewType.DELETED_ONLY)] == [removed]
