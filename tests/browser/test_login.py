"""The leaderboard under MLflow's own login: nothing without it, and with it what the user may read."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests

from orchestrator.tracking.connection import connect
from tests.browser.small_sweep import LONE, SmallSweep, plan_of
from tests.services.browser import Watched
from tests.services.tracking_server import TrackingServer

pytestmark = pytest.mark.services
PATHS = ("", "?sweep=open", "/document", "/document?sweep=open", "/sweeps")
Login = tuple[str, str]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TrackingServer]:
    """A server with logins on which the administrator recorded the sweeps `open` and `closed`; others may read nothing unless told so."""
    folder = tmp_path_factory.mktemp("guarded")
    environment = {"FAIRSWEEP_CACHE": str(folder / "cache"), "MLFLOW_BASIC_AUTH_FAIL_CLOSED": "true"}
    server = TrackingServer(f"sqlite:///{folder}/mlflow.db", permission="NO_PERMISSIONS", app="fairsweep-auth", environment=environment)
    with server, server.logged_in():
        for number, name in enumerate(("open", "closed")):
            SmallSweep(plan_of(LONE, name), folder / "outcomes").deliver(server.uri, now=1.7e9 + number)
        yield server


@pytest.fixture(scope="module")
def reader(guarded: TrackingServer) -> Login:
    """A user who may read the sweep `open`."""
    credentials = guarded.user("reader")
    guarded.permit("reader", experiment_of(guarded, "open"), "READ")
    return login_of(credentials)


@pytest.fixture(scope="module")
def admin(guarded: TrackingServer) -> Login:
    return login_of(guarded.credentials)


def experiment_of(server: TrackingServer, sweep: str) -> str:
    with server.logged_in():
        return str(connect(server.uri).get_experiment_by_name(f"fairsweep/{sweep}").experiment_id)


def login_of(credentials: dict[str, str]) -> Login:
    return credentials["MLFLOW_TRACKING_USERNAME"], credentials["MLFLOW_TRACKING_PASSWORD"]


def get(server: TrackingServer, path: str, login: Login | None = None) -> requests.Response:
    return requests.get(f"{server.uri}/leaderboard{path}", auth=login, timeout=120)


@pytest.mark.parametrize("path", PATHS)
def test_nothing_is_shown_without_a_login(guarded: TrackingServer, path: str) -> None:
    for login in (None, ("admin", "wrong-password"), ("nobody", "wrong-password")):
        answer = get(guarded, path, login)
        assert answer.status_code == 401 and answer.headers["WWW-Authenticate"].startswith("Basic")
        assert "open" not in answer.text and "closed" not in answer.text


def test_nothing_is_shown_without_a_login_however_the_path_is_written(guarded: TrackingServer) -> None:
    for path in (
        "//leaderboard/sweeps",
        "/leaderboard//sweeps",
        "/%6ceaderboard/sweeps",
        "/static/../leaderboard/sweeps",
        "/health/../leaderboard/sweeps",
    ):
        request = requests.Request("GET", guarded.uri).prepare()
        request.url = guarded.uri + path
        with requests.Session() as session:
            answer = session.send(request, timeout=60)
        assert "closed" not in answer.text and "open" not in answer.text, path


def test_a_user_sees_the_sweeps_whose_runs_mlflow_shows(guarded: TrackingServer, reader: Login, admin: Login) -> None:
    assert [sweep["name"] for sweep in get(guarded, "/sweeps", reader).json()["sweeps"]] == ["open"]
    assert [sweep["name"] for sweep in get(guarded, "/sweeps", admin).json()["sweeps"]] == ["closed", "open"]
    assert get(guarded, "/document?sweep=open", reader).json()["sweep"] == "open"
    assert get(guarded, "/document?sweep=closed", admin).json()["sweep"] == "closed"


def test_the_newest_sweep_is_the_newest_that_the_user_may_read(guarded: TrackingServer, reader: Login, admin: Login) -> None:
    assert get(guarded, "/document", reader).json()["sweep"] == "open"
    assert get(guarded, "/document", admin).json()["sweep"] == "closed"


@pytest.mark.parametrize("path", ["/document?sweep=", "?sweep="])
def test_a_sweep_that_the_user_may_not_read_looks_like_one_that_is_not_there(guarded: TrackingServer, reader: Login, path: str) -> None:
    hidden, absent = get(guarded, f"{path}closed", reader), get(guarded, f"{path}clozed", reader)
    assert hidden.status_code == absent.status_code == 404
    assert hidden.text.replace("closed", "clozed") == absent.text
    assert hidden.headers.keys() == absent.headers.keys()


def test_a_tag_that_another_user_got_opens_nothing(guarded: TrackingServer, reader: Login, admin: Login) -> None:
    tag = get(guarded, "/document?sweep=closed", admin).headers["ETag"]
    answer = requests.get(f"{guarded.uri}/leaderboard/document?sweep=closed", auth=reader, headers={"If-None-Match": tag}, timeout=60)
    assert answer.status_code == 404


def test_a_permission_that_is_taken_away_counts_at_once(guarded: TrackingServer) -> None:
    login = login_of(guarded.user("guest"))
    experiment = experiment_of(guarded, "closed")
    assert get(guarded, "/document?sweep=closed", login).status_code == 404
    guarded.permit("guest", experiment, "READ")
    assert get(guarded, "/document?sweep=closed", login).status_code == 200
    guarded.withdraw("guest", experiment)
    assert get(guarded, "/document?sweep=closed", login).status_code == 404


def test_a_user_to_whom_mlflow_shows_an_experiment_but_no_runs_sees_no_board(guarded: TrackingServer) -> None:
    login = login_of(guarded.user("outsider"))
    guarded.permit("outsider", experiment_of(guarded, "open"), "READ")
    assert get(guarded, "/document?sweep=open", login).status_code == 200
    role = guarded.administer("3.0/mlflow/roles/create", name="without-runs", workspace="default")["role"]["id"]
    guarded.administer("3.0/mlflow/roles/permissions/add", role_id=role, resource_type="run", resource_pattern="*", permission="DENY")
    guarded.administer("3.0/mlflow/roles/assign", role_id=role, username="outsider")
    search = {"experiment_ids": [experiment_of(guarded, "open")]}
    runs = requests.post(f"{guarded.uri}/api/2.0/mlflow/runs/search", json=search, auth=login, timeout=60)
    assert runs.json().get("runs", []) == []
    assert get(guarded, "/document?sweep=open", login).status_code == 404 and get(guarded, "/sweeps", login).json() == {"sweeps": []}


def test_a_user_who_may_read_nothing_is_told_so(guarded: TrackingServer) -> None:
    login = login_of(guarded.user("stranger"))
    assert get(guarded, "/sweeps", login).json() == {"sweeps": []}
    answer = get(guarded, "", login)
    assert answer.status_code == 200 and "no sweep that you may read" in answer.text
    assert "open" not in get(guarded, "/document?sweep=x", login).text


def test_the_variable_of_mlflows_logins_asks_for_them_in_the_plain_app_too(tmp_path: Path) -> None:
    with TrackingServer(f"sqlite:///{tmp_path}/mlflow.db", app="fairsweep") as server:
        assert get(server, "/sweeps").status_code == 401
        assert get(server, "/sweeps", login_of(server.credentials)).json() == {"sweeps": []}


def test_the_page_works_behind_the_login(guarded: TrackingServer, reader: Login, new_page: Callable[..., Watched]) -> None:
    watched = new_page(http_credentials={"username": reader[0], "password": reader[1]})
    watched.page.goto(f"{guarded.uri}/leaderboard?sweep=open")
    choice = watched.page.get_by_label("sweep")
    choice.wait_for()
    assert choice.locator("option").all_inner_texts() == ["open"]
    watched.page.locator("#ranking").get_by_text("lora").first.wait_for()
    assert not watched.complaints and not watched.outside(guarded.uri)
