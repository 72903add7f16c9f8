"""The MLflow server with the leaderboard, on a tracking store, for browsing."""

from __future__ import annotations

import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import FrameType
from urllib.error import URLError

from cluster.network import is_loopback
from orchestrator.tracking.connection import connect, shown_uri, tracking_uri
from search_spaces.errors import BusyError, TrackingError

APP, AUTHENTICATED_APP = "fairsweep", "fairsweep-auth"
"""Entry points `mlflow.app` of this distribution."""
SECRET_KEY = "MLFLOW_FLASK_SERVER_SECRET_KEY"
AUTH_CONFIG = "MLFLOW_AUTH_CONFIG_PATH"
"""With it, both of them ask for a login."""
# The consumers of jobs are for evaluations by language models; they take longer to start than all the rest.
_DEFAULTS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
_WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
_ASK_SECONDS = 0.2


def serve(uri: str | None, host: str, port: int, *, auth: bool = False, ready: Callable[[str], None] = lambda _: None) -> int:
    """Run the MLflow server until it ends; return its exit code.

    Args:
        auth: whether it asks for a login, as MLflow's basic auth is configured in the environment.
        ready: called with the address of the leaderboard once the server answers.

    Raises:
        TrackingError: the tracking URI is a server already.
        BusyError: the port is taken.
    """
    chosen, auth = tracking_uri(uri), asks_for_login(auth)
    if chosen.startswith(("http://", "https://")):
        where = f"{shown_uri(chosen).rstrip('/')}/leaderboard"
        raise TrackingError(f"{shown_uri(chosen)} is an MLflow server already. Fix: open it in a browser; one with this app shows {where}")
    _require_free(host, port)
    connect(chosen)
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port)]
    # Several workers would race on the migration of a new database, and each would compute every board.
    command += ["--workers", "1", "--app-name", AUTHENTICATED_APP if auth else APP]
    reached = _WILDCARDS.get(host, host)
    address = f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"
    with subprocess.Popen(command, env={**_DEFAULTS, **os.environ, **_settings(chosen, auth)}) as server, _ended_with_us(server) as ended:
        threading.Thread(target=_tell, args=(server, address, ready), daemon=True).start()
        code = server.wait()
        return 0 if ended.is_set() else code


def is_open(host: str, auth: bool) -> bool:
    """Tell whether others than the users of this machine could change the runs of a server."""
    return not (is_loopback(host) or asks_for_login(auth))


def asks_for_login(auth: bool) -> bool:
    """Tell whether a server asks for a login: because it is to, or because MLflow's file of logins is named."""
    return auth or bool(os.environ.get(AUTH_CONFIG))


def _settings(uri: str, auth: bool) -> Mapping[str, str]:
    # Not on the command line: the URI may hold a password, and every user of the machine can read that.
    settings = {"MLFLOW_BACKEND_STORE_URI": uri, "MLFLOW_DISABLE_TELEMETRY": "true"}
    if auth and not os.environ.get(SECRET_KEY):
        # It signs the form for new users; with one worker, forms that were open during a restart are all that suffers.
        settings[SECRET_KEY] = secrets.token_hex(32)
    return settings


def _require_free(host: str, port: int) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise BusyError(
                f"cannot listen on {host}:{port}: {error.strerror}. Fix: pass another --port, or end what uses this one"
            ) from error


def _tell(server: subprocess.Popen[bytes], address: str, ready: Callable[[str], None]) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while server.poll() is None:
        try:
            with opener.open(f"{address}/health", timeout=5):
                ready(f"{address}/leaderboard")
                return
        except (URLError, OSError):
            time.sleep(_ASK_SECONDS)


@contextmanager
def _ended_with_us(server: subprocess.Popen[bytes]) -> Iterator[threading.Event]:
    """Pass SIGTERM and Ctrl-C on to the server; the event says that one came."""
    ended = threading.Event()

    def pass_on(number: int, frame: FrameType | None) -> None:
        ended.set()
        server.terminate()

    before = {number: signal.signal(number, pass_on) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield ended
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
