"""A real `mlflow server` in a process of its own, on loopback, with logins and one worker."""

from __future__ import annotations

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Self
from unittest.mock import patch

import psutil
import requests

from tests.services.ports import LOOPBACK, free_port

ADMIN = "admin"
START_SECONDS = 180
CREDENTIALS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")


class TrackingServer:
    """An MLflow server from the start of the `with` block to its end; `stop` and `start` are an outage, on the same port.

    Args:
        backend_uri: database of the runs, as SQLAlchemy takes it; it may be one that is there already.
        artifacts: where the server puts artifacts: a folder or a URI such as `s3://bucket/path`; None for a temporary folder.
        auth: whether it asks for user name and password.
        auth_uri: database of the users; None for a SQLite file.
        permission: what a user may do with the experiments of another: READ, EDIT, MANAGE or NO_PERMISSIONS.
        environment: what the server gets in addition, such as the credentials of an object store.
        app: entry point `mlflow.app` that it serves; None for MLflow's own.
        prefix: path below which it serves, such as `/mlflow`.
    """

    def __init__(
        self,
        backend_uri: str,
        artifacts: str | Path | None = None,
        auth: bool = True,
        auth_uri: str | None = None,
        permission: str = "READ",
        environment: Mapping[str, str] | None = None,
        app: str | None = None,
        prefix: str = "",
    ) -> None:
        self.port = free_port()
        self.uri = f"http://{LOOPBACK}:{self.port}{prefix}"
        self.auth = auth
        self._app, self._prefix = app or ("basic-auth" if auth else None), prefix
        self._password = secrets.token_urlsafe(16)
        self._folder = Path(tempfile.mkdtemp(prefix="fairsweep-mlflow-"))
        self.artifacts = str(artifacts or self._folder / "artifacts")
        self._backend_uri, self._auth_uri = backend_uri, auth_uri or f"sqlite:///{self._folder}/users.db"
        self._permission, self._extra = permission, dict(environment or {})
        self._secret_key = secrets.token_hex(16)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop(kill=True)
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def credentials(self) -> dict[str, str]:
        """Environment variables that log the administrator in; empty when the server asks nobody."""
        return self.credentials_of(ADMIN, self._password) if self.auth else {}

    @staticmethod
    def credentials_of(user: str, password: str) -> dict[str, str]:
        """Environment variables that log a user in."""
        return {"MLFLOW_TRACKING_USERNAME": user, "MLFLOW_TRACKING_PASSWORD": password}

    @contextmanager
    def logged_in(self, credentials: Mapping[str, str] | None = None) -> Iterator[None]:
        """Put credentials into this process's environment, the administrator's unless others are given; an empty mapping: none."""
        with patch.dict(os.environ):
            for name in CREDENTIALS:
                os.environ.pop(name, None)
            os.environ.update(self.credentials if credentials is None else credentials)
            yield

    def start(self) -> None:
        """Start the server and wait until it is healthy."""
        # The database's URI is in the environment and the file: every user of a machine can read command lines.
        command = [sys.executable, "-W", "ignore", "-m", "mlflow", "server", "--host", LOOPBACK, "--port", str(self.port), "--workers", "1"]
        command += ["--artifacts-destination", self.artifacts, *(["--app-name", self._app] if self._app else [])]
        command += ["--static-prefix", self._prefix] if self._prefix else []
        with self._log().open("ab") as log:
            self._process = subprocess.Popen(
                command, env=self._environment(), stdout=log, stderr=log, start_new_session=True, cwd=self._folder
            )
        self._wait()

    def stop(self, kill: bool = False) -> None:
        """End the server: in order, or at once as a crash would."""
        if self._process is None:
            return
        if not kill:
            self._process.terminate()
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=15)
        # Its group: the server's worker is a child of the process that was started here.
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(timeout=15)
        self._process = None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Take connections but answer nothing, as an overloaded server does."""
        assert self._process is not None
        os.killpg(self._process.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.killpg(self._process.pid, signal.SIGCONT)

    def user(self, name: str) -> dict[str, str]:
        """Make a user; return the environment variables that log it in."""
        password = secrets.token_urlsafe(16)
        self.administer("2.0/mlflow/users/create", username=name, password=password)
        return self.credentials_of(name, password)

    def permit(self, name: str, experiment_id: str, permission: str) -> None:
        """Give a user a permission of its own on an experiment: READ, EDIT or MANAGE."""
        what = {"resource_type": "experiment", "resource_id": experiment_id, "permission": permission}
        self.administer("3.0/mlflow/users/permissions/grant", username=name, **what)

    def withdraw(self, name: str, experiment_id: str) -> None:
        """Take that permission away again."""
        self.administer("3.0/mlflow/users/permissions/revoke", username=name, resource_type="experiment", resource_id=experiment_id)

    def administer(self, call: str, **arguments: object) -> Any:
        """Send a request as the administrator, such as `3.0/mlflow/roles/create`; return the answer."""
        answer = requests.post(f"{self.uri}/api/{call}", json=arguments, auth=(ADMIN, self._password), timeout=60)
        if not answer.ok:
            raise RuntimeError(f"{call} answered {answer.status_code}: {answer.text[:500]}")
        return answer.json()

    def cpu_seconds(self) -> float:
        """Return the processor time that the running server took so far, its children's included."""
        assert self._process is not None
        process = psutil.Process(self._process.pid)
        times = [found.cpu_times() for found in (process, *process.children(recursive=True))]
        return float(sum(time.user + time.system for time in times))

    def log_text(self) -> str:
        """Return what the server wrote."""
        return self._log().read_text(errors="replace") if self._log().exists() else ""

    def _environment(self) -> dict[str, Any]:
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
        settings = {
            "MLFLOW_BACKEND_STORE_URI": self._backend_uri,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
            # Connections beyond the pool's default of five are opened and closed again for each request.
            "MLFLOW_SQLALCHEMYSTORE_POOL_SIZE": "20",
        }
        if self.auth:
            settings |= {"MLFLOW_AUTH_CONFIG_PATH": str(self._auth_file()), "MLFLOW_FLASK_SERVER_SECRET_KEY": self._secret_key}
        return {**inherited, **settings, **self._extra}

    def _auth_file(self) -> Path:
        file = self._folder / "auth.ini"
        content = {
            "default_permission": self._permission,
            "database_uri": self._auth_uri,
            "admin_username": ADMIN,
            "admin_password": self._password,
            "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
            # Without it every request hashes the password anew, which leaves two trials per second.
            "auth_cache_ttl_seconds": "300",
        }
        # In a configuration file, % begins an interpolation.
        file.write_text("[mlflow]\n" + "".join(f"{key} = {value.replace('%', '%%')}\n" for key, value in content.items()))
        return file

    def _wait(self) -> None:
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end and self._process is not None and self._process.poll() is None:
            try:
                if requests.get(f"{self.uri}/health", timeout=5).ok:
                    return
            except requests.RequestException:
                time.sleep(0.1)
        log = self.log_text()[-3000:]
        self.stop(kill=True)
        raise RuntimeError(f"the MLflow server did not start:\n{log}")

    def _log(self) -> Path:
        return self._folder / "server.log"
