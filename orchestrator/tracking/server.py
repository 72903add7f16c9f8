"""The MLflow server on a tracking store, for browsing."""

from __future__ import annotations

import os
import socket
import subprocess
import sys

from orchestrator.tracking.connection import connect, shown_uri, tracking_uri
from search_spaces.errors import BusyError, TrackingError


def serve(uri: str | None, host: str, port: int) -> int:
    """Run the MLflow server until it ends; return its exit code.

    Raises:
        TrackingError: the tracking URI is a server already.
        BusyError: the port is taken.
    """
    chosen = tracking_uri(uri)
    if chosen.startswith(("http://", "https://")):
        raise TrackingError(f"{shown_uri(chosen)} is an MLflow server already. Fix: open it in a browser")
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise BusyError(
                f"cannot listen on {host}:{port}: {error.strerror}. Fix: pass another --port, or end what uses this one"
            ) from error
    connect(chosen)
    # Not on the command line: it may hold a password, and every user of the machine can read that.
    environment = {**os.environ, "MLFLOW_BACKEND_STORE_URI": chosen, "MLFLOW_DISABLE_TELEMETRY": "true"}
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"]
    return subprocess.run(command, env=environment, check=False).returncode
