from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest

from cluster.examination import Finding
from orchestrator.doctor import services
from orchestrator.doctor.subject import Subject
from orchestrator.tracking.connection import connect
from orchestrator.tracking.probe import TrackingProbe, probe
from tests.services.ports import LOOPBACK, free_port
from tests.services.tracking_server import TrackingServer

PASSWORD = "planted-password-7391"


def judged(found: TrackingProbe, subject_of: Callable[..., Subject]) -> Finding:
    (finding,) = services.tracking(Subject(**{**vars(subject_of()), "tracking": found}))
    assert PASSWORD not in finding.seen + finding.fix
    return finding


def test_a_store_that_the_first_run_makes_is_not_made_here(tmp_path: Path, subject_of: Callable[..., Subject]) -> None:
    finding = judged(probe(f"sqlite:///{tmp_path}/new/mlflow.db"), subject_of)
    assert finding.level == "ok" and "first run" in finding.seen and not list(tmp_path.iterdir())


def test_a_store_that_is_there(tmp_path: Path, subject_of: Callable[..., Subject]) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    client = connect(uri)
    before = [experiment.name for experiment in client.search_experiments()]
    finding = judged(probe(uri), subject_of)
    assert finding.level == "ok" and "ms for a search" in finding.seen
    assert [experiment.name for experiment in client.search_experiments()] == before


def test_a_file_that_is_no_database(tmp_path: Path, subject_of: Callable[..., Subject]) -> None:
    (tmp_path / "mlflow.db").write_text("not a database, though long enough to be taken for one" * 100)
    finding = judged(probe(f"sqlite:///{tmp_path}/mlflow.db"), subject_of)
    assert finding.level == "failure" and "mlflow.db" in finding.seen and finding.fix


def test_a_database_that_another_process_holds(tmp_path: Path, subject_of: Callable[..., Subject], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.tracking.probe.REQUEST_SECONDS", 0.1)
    holder = sqlite3.connect(tmp_path / "mlflow.db")
    holder.execute("CREATE TABLE t (x)")
    holder.execute("BEGIN EXCLUSIVE")
    finding = judged(probe(f"sqlite:///{tmp_path}/mlflow.db"), subject_of)
    holder.close()
    assert finding.level == "failure" and "locked" in finding.seen


def test_a_folder_in_which_no_database_can_be_made(tmp_path: Path, subject_of: Callable[..., Subject]) -> None:
    (tmp_path / "file").write_text("")
    assert judged(probe(f"sqlite:///{tmp_path}/file/mlflow.db"), subject_of).level == "failure"


def test_a_port_where_nothing_listens(subject_of: Callable[..., Subject]) -> None:
    finding = judged(probe(f"http://{LOOPBACK}:{free_port()}"), subject_of)
    assert finding.level == "failure" and "start the server" in finding.fix


def test_a_database_server_that_is_not_there_shows_no_password(subject_of: Callable[..., Subject]) -> None:
    finding = judged(probe(f"postgresql://user:{PASSWORD}@{LOOPBACK}:{free_port()}/runs"), subject_of)
    assert finding.level == "failure" and "postgresql://***@" in finding.seen and "start the server" in finding.fix


@pytest.fixture
def answering() -> Iterator[Callable[[int], str]]:
    """Starts a server that answers everything with one status."""
    servers: list[ThreadingHTTPServer] = []

    def start(status: int) -> str:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.end_headers()
                self.wfile.write(b"no")

            do_POST = do_GET  # noqa: N815  the name that http.server looks for

            def log_message(self, *_: object) -> None:
                pass

        server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
        servers.append(server)
        Thread(target=server.serve_forever, daemon=True).start()
        return f"http://{LOOPBACK}:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(("status", "word"), [(404, "--tracking-uri"), (500, "start the server"), (403, "administrator")])
def test_a_server_that_refuses(answering: Callable[[int], str], subject_of: Callable[..., Subject], status: int, word: str) -> None:
    finding = judged(probe(answering(status)), subject_of)
    assert finding.level == "failure" and str(status) in finding.seen and word in finding.fix


def test_sqlite_and_several_nodes(subject_of: Callable[..., Subject]) -> None:
    one = subject_of()
    several = {**vars(one), "nodes": (*one.nodes, *one.nodes), "tracking": TrackingProbe("sqlite:///mlflow.db", local_file=True)}
    (finding,) = services.tracking_shared(Subject(**several))
    assert finding.level == "failure" and "mlflow server" in finding.fix
    assert not list(services.tracking_shared(Subject(**{**several, "nodes": one.nodes})))


@pytest.mark.parametrize(("server", "level"), [("3.17.9", "ok"), ("3.2.0", "warning"), ("2.22.0", "warning")])
def test_another_version_of_the_server(subject_of: Callable[..., Subject], server: str, level: str) -> None:
    found = TrackingProbe("http://x", server=server, client="3.17.0")
    (finding,) = services.tracking_versions(Subject(**{**vars(subject_of()), "tracking": found}))
    assert finding.level == level and server in finding.seen


@pytest.mark.services
def test_a_server_with_logins(tmp_path: Path, subject_of: Callable[..., Subject]) -> None:
    with TrackingServer(f"sqlite:///{tmp_path}/runs.db") as server:
        with server.logged_in({}):
            finding = judged(probe(server.uri), subject_of)
            assert finding.level == "failure" and "401" in finding.seen
            assert "MLFLOW_TRACKING_USERNAME" in finding.fix and "MLFLOW_TRACKING_PASSWORD" in finding.fix
        with server.logged_in(TrackingServer.credentials_of("admin", PASSWORD)):
            assert judged(probe(server.uri), subject_of).level == "failure"
        with server.logged_in():
            found = probe(server.uri)
            assert judged(found, subject_of).level == "ok" and found.server == found.client and not found.open_to_all
            names = {experiment.name for experiment in connect(server.uri).search_experiments(view_type=3)}
            assert names == {"Default"}, "no experiment is left, a deleted one neither"
        with server.logged_in(server.user("eve")):
            assert judged(probe(server.uri), subject_of).level == "ok", "a user who is no administrator"
