"""A tracking server that names files outside of an artifact's folder: nothing is written there."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from orchestrator.tracking.records import RunReader
from search_spaces.errors import TrackingError

RUN = {"info": {"run_id": "a" * 32, "experiment_id": "1", "status": "FINISHED", "artifact_uri": "mlflow-artifacts:/1/aa/artifacts"}}


class Answers(BaseHTTPRequestHandler):
    """Speaks as much of MLflow's protocol as a download takes, with a name of the test's choice for the file."""

    name, is_dir, fetched = "", False, 0

    def do_GET(self) -> None:
        path = urlsplit(self.path).path
        if path.endswith("/runs/get"):
            self._answer(json.dumps({"run": RUN}).encode())
        elif path.endswith("/mlflow-artifacts/artifacts"):
            files = [{"path": type(self).name, "is_dir": type(self).is_dir, "file_size": 7}]
            self._answer(json.dumps({"files": files if type(self).fetched < 4 else []}).encode())
            type(self).fetched += 1
        else:
            self._answer(b"planted")

    def _answer(self, content: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002
        pass


@pytest.fixture
def hostile(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answers)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_an_honest_answer_is_downloaded(hostile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Answers, "name", "adapter.safetensors")
    monkeypatch.setattr(Answers, "fetched", 0)
    folder = RunReader(hostile).download("a" * 32, "adapter", tmp_path)
    assert (folder / "adapter.safetensors").read_bytes() == b"planted"


NAMES = ("../../planted", "..", "a/../../../planted", "OUTSIDE/planted", "%2e%2e/%2e%2e/planted", "..%2f..%2fplanted", "..\\..\\planted")


@pytest.mark.parametrize("is_dir", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_no_name_of_a_server_leaves_the_folder(
    hostile: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, is_dir: bool
) -> None:
    inside = tmp_path / "one" / "two" / "inside"
    inside.mkdir(parents=True)
    monkeypatch.setattr(Answers, "name", name.replace("OUTSIDE", str(tmp_path)))
    monkeypatch.setattr(Answers, "is_dir", is_dir)
    monkeypatch.setattr(Answers, "fetched", 0)
    with suppress(TrackingError):
        RunReader(hostile).download("a" * 32, "adapter", inside)
    assert [path for path in tmp_path.rglob("*") if path.is_file() and not path.is_relative_to(inside)] == []
