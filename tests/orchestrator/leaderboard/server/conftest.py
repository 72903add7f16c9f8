"""The leaderboard's routes on a real store, without MLflow's routes around them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from orchestrator.leaderboard.server.routes import routes
from orchestrator.leaderboard.server.snapshots import Snapshots
from orchestrator.leaderboard.server.store import ServerStore
from orchestrator.tracking.connection import connect
from orchestrator.tracking.deliverer import Deliverer
from orchestrator.tracking.delivery import Tracker
from trainers.outcomes import OutcomeStore

LONE = """
name: small
models: [tiny]
tasks: [reading]
data: {source: embedded, train: 8, selection: 4, test: 4}
methods: {plain: {}}
targets: [q, v]
grid: {learning_rate: [1.0e-2]}
training: {steps: 2, batch_size: 2, checkpoint: {best: metric, evaluations: 1}}
seeds: {select: [100], report: [0]}
"""


class Some:
    """Lets the sender read these experiments; None: all."""

    def __init__(self) -> None:
        self.allowed: set[str] | None = None

    def readable(self, experiment_ids: Iterable[str]) -> list[str]:
        return [found for found in experiment_ids if self.allowed is None or found in self.allowed]


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Making one takes longer than copying it."""
    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    connect(f"sqlite:///{file}").search_experiments(max_results=1)
    return file


@pytest.fixture
def uri(empty_database: Path, tmp_path: Path) -> str:
    """A store of the test's own, since it is asked what there is at all."""
    return f"sqlite:///{shutil.copy(empty_database, tmp_path / 'mlflow.db')}"


@pytest.fixture
def sweep(sweep_of: Callable[..., Any]) -> Any:
    return sweep_of(LONE)


@pytest.fixture
def other(sweep_of: Callable[..., Any]) -> Any:
    return sweep_of(LONE.replace("name: small", "name: other"))


@pytest.fixture
def access() -> Some:
    return Some()


@pytest.fixture(autouse=True)
def cache(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRSWEEP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def web_of(access: Some) -> Callable[..., FlaskClient]:
    """Makes a client of the routes on a store; a request waits for its board for `first_seconds`."""

    def make(uri: str, first_seconds: float = 120) -> FlaskClient:
        app = Flask(__name__)
        snapshots = Snapshots(patience_seconds=120, first_seconds=first_seconds)
        app.register_blueprint(routes(ServerStore(uri), access, snapshots), url_prefix="/leaderboard")
        return app.test_client()

    return make


@pytest.fixture
def deliver(uri: str, store: OutcomeStore) -> Callable[..., str]:
    """Brings a made-up sweep to the module's store and returns the id of its experiment."""

    def bring(sweep: Any, status: str = "finished", now: float = 1.0, trials: Iterable[Any] | None = None) -> str:
        for trial in sweep.trials if trials is None else trials:
            store.commit(trial, sweep.outcomes[trial.id])
        name = sweep.plan.spec.name
        with Deliverer(Tracker(uri, name, sweep.plan.digest), store) as deliverer:
            deliverer.put_sweep({"plan.json": json.dumps(sweep.plan.document())}, status, now=now)
        return Tracker(uri, name, sweep.plan.digest).experiment_id()

    return bring


@pytest.fixture
def web(web_of: Callable[..., FlaskClient], uri: str) -> FlaskClient:
    return web_of(uri)
