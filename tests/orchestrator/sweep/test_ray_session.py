from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from orchestrator.sweep.ray_session import ClusterError, ray_session

LISTENERS = """
import json, psutil
from orchestrator.sweep.ray_session import ray_session

with ray_session(None):
    own = psutil.Process()
    found = [
        (process.name(), connection.laddr.ip)
        for process in (own, *own.children(recursive=True))
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
print(json.dumps(found))
"""


def test_a_local_ray_listens_on_loopback_only(workplace: Any, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LISTENERS],
        cwd=tmp_path,
        env=workplace.environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert any(name == "raylet" for name, _ in found)
    assert {address.removeprefix("::ffff:") for _, address in found} == {"127.0.0.1"}


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("10.0.0.1", "is not an address. Valid: auto, or HOST:PORT"),
        ("127.0.0.1:1", "no Ray cluster answers at 127.0.0.1:1"),
        ("ray://10.0.0.1:10001", "fairsweep submit"),
    ],
)
def test_an_address_that_cannot_be_used_is_explained(address: str, message: str) -> None:
    with pytest.raises(ClusterError, match=message), ray_session(address):
        pass
