"""`fairsweep ui`: a server that nobody but this machine reaches, unless asked."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from tests.services.ports import free_port, listens


@pytest.mark.services
def test_the_ui_listens_on_loopback_only(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-m", "orchestrator.cli", "ui", "--port", str(port), "--tracking-uri", f"sqlite:///{tmp_path}/mlflow.db"]
    ui = subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    processes: list[psutil.Process] = []
    try:
        while not listens(port):
            assert ui.poll() is None
            time.sleep(0.1)
        processes = [psutil.Process(ui.pid), *psutil.Process(ui.pid).children(recursive=True)]
        sockets = [socket for process in processes for socket in process.net_connections("inet") if socket.status == psutil.CONN_LISTEN]
        assert (port in {socket.laddr.port for socket in sockets}) and {socket.laddr.ip for socket in sockets} == {"127.0.0.1"}
    finally:
        for process in processes or [psutil.Process(ui.pid)]:
            process.kill()
        ui.wait(timeout=60)
