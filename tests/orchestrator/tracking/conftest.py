"""A real MLflow server with logins on PostgreSQL, that all tests of this folder share, each under its own sweep."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.services import postgres as packages
from tests.services.postgres import Postgres
from tests.services.required import required
from tests.services.tracking_server import TrackingServer


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    reason = packages.missing()
    required(reason is None, str(reason))
    with Postgres() as service:
        yield service


@pytest.fixture(scope="session")
def server(postgres: Postgres) -> Iterator[TrackingServer]:
    with TrackingServer(postgres.database("mlflow"), auth_uri=postgres.database("users")) as service:
        yield service


@pytest.fixture
def logged_in(server: TrackingServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[TrackingServer]:
    """The server, with the administrator's credentials in the environment; requests that get no answer give up soon."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with server.logged_in():
        yield server
