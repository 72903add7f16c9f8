"""`fairsweep ui`: MLflow and the leaderboard on one port, which nobody but this machine reaches, unless asked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
import requests

from orchestrator.tracking.server import is_open
from tests.services.ports import free_port


@contextmanager
def ui(folder: Path, *options: str, **environment: str) -> Iterator[tuple[str, subprocess.Popen[str], int]]:
    """Run `fairsweep ui`; yield what it prints once it serves, its process and its port."""
    port = free_port()
    command = [sys.executable, "-m", "orchestrator.cli", "ui", "--port", str(port), "--tracking-uri", f"sqlite:///{folder}/mlflow.db"]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [*command, *options], cwd=folder, env={**inherited, **environment}, stdout=subprocess.PIPE, stderr=log, text=True
        )
    assert process.stdout is not None
    try:
        yield process.stdout.readline(), process, port
    finally:
        for child in [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)] if process.poll() is None else []:
            child.kill()
        process.wait(timeout=60)
        process.stdout.close()


@pytest.mark.services
def test_it_serves_both_on_loopback_and_says_where(tmp_path: Path) -> None:
    with ui(tmp_path) as (printed, process, port):
        assert printed == f"leaderboard: http://127.0.0.1:{port}/leaderboard\n", (tmp_path / "log").read_text()[-2000:]
        assert requests.get(f"http://127.0.0.1:{port}/leaderboard/sweeps", timeout=60).json() == {"sweeps": []}
        assert requests.get(f"http://127.0.0.1:{port}/version", timeout=60).ok
        family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]
        sockets = [socket for member in family for socket in member.net_connections("inet") if socket.status == psutil.CONN_LISTEN]
        assert (port in {socket.laddr.port for socket in sockets}) and {socket.laddr.ip for socket in sockets} == {"127.0.0.1"}
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
        # The server does not outlive the command.
        assert [member.pid for member in family if member.is_running() and member.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.services
def test_it_asks_for_a_login_when_told_to(tmp_path: Path) -> None:
    login = {"MLFLOW_AUTH_ADMIN_USERNAME": "admin", "MLFLOW_AUTH_ADMIN_PASSWORD": "a-password-of-this-test"}
    with ui(tmp_path, "--auth", **login) as (printed, _, port):
        assert printed.startswith("leaderboard: "), (tmp_path / "log").read_text()[-2000:]
        url = f"http://127.0.0.1:{port}/leaderboard/sweeps"
        assert requests.get(url, timeout=60).status_code == 401
        assert requests.get(url, auth=tuple(login.values()), timeout=60).json() == {"sweeps": []}
    assert "a-password-of-this-test" not in printed + (tmp_path / "log").read_text()


@pytest.mark.services
def test_it_asks_for_a_login_where_a_file_of_logins_is_named(tmp_path: Path) -> None:
    settings = {
        "default_permission": "READ",
        "database_uri": f"sqlite:///{tmp_path}/logins.db",
        "admin_username": "admin",
        "admin_password": "a-password-of-this-test",
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
    }
    config = tmp_path / "logins.ini"
    config.write_text("\n".join(["[mlflow]", *(f"{name} = {value}" for name, value in settings.items())]))
    with ui(tmp_path, MLFLOW_AUTH_CONFIG_PATH=str(config)) as (printed, _, port):
        assert printed.startswith("leaderboard: "), (tmp_path / "log").read_text()[-2000:]
        assert requests.get(f"http://127.0.0.1:{port}/leaderboard/sweeps", timeout=60).status_code == 401


@pytest.mark.parametrize(
    ("host", "auth", "config", "expected"),
    [
        ("127.0.0.1", False, None, False),
        ("localhost", False, None, False),
        ("127.0.0.2", False, None, False),
        ("127.example.org", False, None, True),
        ("::1", False, None, False),
        ("0.0.0.0", False, None, True),
        ("::", False, None, True),
        ("192.168.1.5", False, None, True),
        ("0.0.0.0", True, None, False),
        ("0.0.0.0", False, "auth.ini", False),
    ],
)
def test_a_server_for_everybody_is_told_apart(
    monkeypatch: pytest.MonkeyPatch, host: str, auth: bool, config: str | None, expected: bool
) -> None:
    monkeypatch.delenv("MLFLOW_AUTH_CONFIG_PATH", raising=False)
    if config:
        monkeypatch.setenv("MLFLOW_AUTH_CONFIG_PATH", config)
    assert is_open(host, auth) is expected
