"""Chromium, and real MLflow servers with the leaderboard that hold a small sweep."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.browser.small_sweep import LONE, SmallSweep, plan_of
from tests.services import browser as programs
from tests.services.browser import Browser, Watched
from tests.services.required import required
from tests.services.tracking_server import TrackingServer


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    reason = programs.missing()
    required(reason is None, str(reason))
    with Browser() as browser:
        yield browser


@pytest.fixture
def new_page(chromium: Browser) -> Iterator[Callable[..., Watched]]:
    """Opens pages, which are closed after the test (see `Browser.page`)."""
    yield chromium.page
    chromium.close_pages()


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> SmallSweep:
    """A sweep of four methods and the untuned model, of which one run diverged and one ran out of memory."""
    sweep = SmallSweep(plan_of(), tmp_path_factory.mktemp("outcomes"))
    sweep.fail(sweep.reports("ia3")[:1], "diverged")
    sweep.fail(sweep.reports("adapter_pfeiffer")[:1], "out_of_memory")
    return sweep


@pytest.fixture(scope="session")
def server(small: SmallSweep, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingServer]:
    """A server without logins that holds the sweeps `lone` and, the later one, `small`."""
    folder = tmp_path_factory.mktemp("mlflow")
    app = TrackingServer(f"sqlite:///{folder}/mlflow.db", auth=False, app="fairsweep", environment=cache_in(folder))
    with app, app.logged_in():
        SmallSweep(plan_of(LONE), tmp_path_factory.mktemp("lone")).deliver(app.uri)
        small.deliver(app.uri, now=1.7e9 + 60)
        yield app


@pytest.fixture(scope="session")
def address(server: TrackingServer) -> str:
    """Where the leaderboard is."""
    return f"{server.uri}/leaderboard"


def cache_in(folder: Path) -> dict[str, str]:
    """The server's cache: of its own, so that no test reads what another left."""
    return {"FAIRSWEEP_CACHE": str(folder / "cache")}
