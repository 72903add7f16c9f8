"""Reading sweeps back: a record holds what was delivered, and what cannot be read says why."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from orchestrator.tracking.connection import AwayError, shown_uri, tracking_uri
from orchestrator.tracking.delivery import Tracker
from orchestrator.tracking.records import RunReader
from search_spaces.errors import TrackingError, UnknownNameError
from search_spaces.trial import Trial
from trainers.outcomes import OutcomeStore
from trainers.results import Outcome

Add = Callable[..., str]


def test_a_record_gives_trial_and_outcome_back(uri: str, store: OutcomeStore, finished: Add) -> None:
    trial_id = finished()
    Tracker(uri, "back", "d").deliver(store, trial_id)
    (record,) = RunReader(uri).runs("back")
    outcome = store.read(trial_id)
    assert outcome is not None
    assert record.delivered
    assert record.trial == store.trial(trial_id)
    assert record.outcome == outcome.model_copy(update={"curves": {}})
    assert record.contradictions() == []


def test_a_long_trial_comes_back_whole(uri: str, store: OutcomeStore, finished: Add) -> None:
    method = {"name": "lora", "version": "v", "capacity": {"rank": 4}, "settings": {"names": [f"läyer {n}" for n in range(3000)]}}
    Tracker(uri, "long", "d").deliver(store, finished(method=method))
    (record,) = RunReader(uri).runs("long")
    assert record.trial.method.settings == method["settings"]


def test_a_failed_trial_has_no_final_scores(uri: str, store: OutcomeStore, finished: Add) -> None:
    failure: dict[str, Any] = {"status": "diverged", "error": "loss is NaN", "metrics": {}, "best_step": None}
    Tracker(uri, "diverged", "d").deliver(store, finished(outcome=failure))
    (record,) = RunReader(uri).runs("diverged")
    assert (record.outcome.metrics, record.outcome.error) == ({}, "loss is NaN")
    assert record.metrics["selection/f1"] == 0.4


def test_foreign_metrics_and_params_do_no_harm(uri: str, client: MlflowClient, store: OutcomeStore, finished: Add) -> None:
    run_id = Tracker(uri, "foreign", "d").deliver(store, finished())
    client.log_metric(run_id, "profile/carbon", 3.0)
    client.log_param(run_id, "note", "mine")
    (record,) = RunReader(uri).runs("foreign")
    assert record.outcome.profile.seconds_per_step == 0.5


def test_an_edited_trial_is_refused(
    uri: str, client: MlflowClient, store: OutcomeStore, finished: Add, trial_of: Callable[..., Trial]
) -> None:
    run_id = Tracker(uri, "edited", "d").deliver(store, finished())
    client.set_tag(run_id, "fairsweep.trial_json", trial_of(seed=7).model_dump_json())
    (record,) = RunReader(uri).runs("edited")
    with pytest.raises(TrackingError, match=run_id):
        _ = record.trial


def test_params_that_contradict_the_trial_are_told(
    uri: str, client: MlflowClient, store: OutcomeStore, finished: Add, outcome_of: Callable[..., Outcome]
) -> None:
    run_id = Tracker(uri, "contradiction", "d").deliver(store, finished())
    tags = client.get_run(run_id).data.tags
    experiment = client.get_run(run_id).info.experiment_id
    client.delete_run(run_id)
    copy = client.create_run(experiment, tags=tags)
    client.log_param(copy.info.run_id, "learning_rate", "0.1")
    (record,) = RunReader(uri).runs("contradiction")
    assert "learning_rate: 0.1, not 0.001" in record.contradictions()


def test_more_runs_than_a_page_are_all_read(
    uri: str, client: MlflowClient, store: OutcomeStore, finished: Add, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.tracking.connection._PAGE", 2)
    tracker, ids = Tracker(uri, "pages", "d"), {finished(seed=seed) for seed in range(5)}
    for trial_id in ids:
        tracker.deliver(store, trial_id)
    assert [record.trial_id for record in RunReader(uri).runs("pages")] == sorted(ids)
    assert tracker.known_trials() == ids


def test_half_written_runs_are_read_as_such(uri: str, client: MlflowClient, store: OutcomeStore, finished: Add) -> None:
    run_id = Tracker(uri, "half", "d").deliver(store, finished())
    client.delete_tag(run_id, "fairsweep.delivered")
    (record,) = RunReader(uri).runs("half")
    assert not record.delivered


def test_the_newest_digest_is_the_one_that_ran_last(uri: str) -> None:
    old, new = Tracker(uri, "digests", "aaaa"), Tracker(uri, "digests", "bbbb")
    old.deliver_sweep({"plan.json": '{"digest": "aaaa"}', "spec.yaml": "name: x"}, "finished", now=1e12)
    new.deliver_sweep({"plan.json": '{"digest": "bbbb"}'}, "finished", now=2e12)
    reader = RunReader(uri)
    assert reader.sweep_document("digests") == {"digest": "bbbb"}
    assert reader.sweep_document("digests", "aaaa") == {"digest": "aaaa"}
    assert reader.sweep_artifact("digests", "spec.yaml", "aaaa") == "name: x"
    assert reader.latest_sweep() == "digests"
    old.deliver_sweep({}, "running", now=3e12)
    assert reader.sweep_document("digests") == {"digest": "aaaa"}


def test_a_run_is_found_by_its_id_and_by_its_trial(uri: str, store: OutcomeStore, finished: Add, tmp_path: Path) -> None:
    trial_id = finished()
    run_id = Tracker(uri, "found", "d").deliver(store, trial_id)
    reader = RunReader(uri)
    assert reader.run(run_id).trial_id == trial_id
    assert reader.run(trial_id).trial_id == trial_id
    assert (reader.download(run_id, "adapter", tmp_path) / "adapter.safetensors").read_bytes() == b"weights"
    with pytest.raises(TrackingError, match="fairsweep runs"):
        reader.run("nobody's")


def test_unknown_names_come_with_a_suggestion(uri: str) -> None:
    Tracker(uri, "llama2-squad", "d").deliver_sweep({}, "running", now=1.0)
    reader = RunReader(uri)
    with pytest.raises(UnknownNameError, match="Did you mean 'llama2-squad'"):
        reader.runs("llama2-sqaud")
    with pytest.raises(TrackingError, match="Fix: run the sweep"):
        reader.sweep_document("llama2-squad", "cccc")


def test_a_sweep_without_its_plan_is_told(uri: str) -> None:
    Tracker(uri, "planless", "d").deliver_sweep({}, "running", now=1.0)
    with pytest.raises(TrackingError, match="plan.json"):
        RunReader(uri).sweep_document("planless")


def test_an_empty_store_says_so(tmp_path: Path) -> None:
    with pytest.raises(TrackingError, match="holds no sweep yet"):
        RunReader(f"sqlite:///{tmp_path}/new/mlflow.db").latest_sweep()


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("not a database")
    with pytest.raises(TrackingError, match="mlflow.db"):
        RunReader(f"sqlite:///{tmp_path}/mlflow.db").sweeps()


def test_the_tracking_uri_is_the_flag_then_the_variable_then_the_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_uri(None) == "sqlite:///fairsweep/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://server")
    assert tracking_uri(None) == "http://server"
    assert tracking_uri("http://flag") == "http://flag"


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("postgresql://me:p4ss@host/db", "postgresql://***@host/db"),
        ("postgresql://me:p4@ss@host/db?password=x&a=b", "postgresql://***@host/db?password=***&a=b"),
        ("http://host:5000/?token=abc", "http://host:5000/?token=***"),
        ("http://host:5000/a@b", "http://host:5000/a@b"),
        ('{"a":"http://host","b":"me@here"}', '{"a":"http://host","b":"me@here"}'),
    ],
)
def test_uris_are_shown_without_credentials(uri: str, shown: str) -> None:
    assert shown_uri(uri) == shown


def test_a_server_that_is_away_is_told_from_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(AwayError, match="start the server"):
        RunReader("http://127.0.0.1:9").sweeps()


def test_reading_loads_no_torch(uri: str, store: OutcomeStore, finished: Add) -> None:
    Tracker(uri, "light", "d").deliver(store, finished())
    code = """
import sys
from orchestrator.tracking import deliverer, delivery, records
assert "mlflow" not in sys.modules
records.RunReader(sys.argv[1]).sweeps()
assert not {"torch", "transformers", "peft", "deepspeed", "ray"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code, uri], check=True)
