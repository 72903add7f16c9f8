from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from orchestrator.sweep import cluster_lock as locks
from orchestrator.sweep.cluster_lock import cluster_lock
from orchestrator.sweep.ray_session import ClusterError, ray_session
from search_spaces.errors import BusyError
from trainers.storage import Storage

HOLD = """
import sys
from orchestrator.sweep.cluster_lock import cluster_lock
from orchestrator.sweep.ray_session import ray_session
from trainers.storage import Storage
with ray_session(sys.argv[1]), cluster_lock(Storage.at(sys.argv[2]), 0.0):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """The address of a Ray of this machine, to which this process is connected."""
    with ray_session(None):
        yield ray.get_runtime_context().gcs_address


def test_two_drivers_on_one_cluster_exclude_each_other_until_the_first_is_killed(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Storage.at(tmp_path / "micro")
    with subprocess.Popen([sys.executable, "-c", HOLD, address, folder.uri], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        with monkeypatch.context() as impatient:
            impatient.setattr(locks, "WAIT_SECONDS", 2.0)
            with pytest.raises(BusyError, match=f"sweep 'micro' .* on this cluster by process {process.pid} on"), cluster_lock(folder, 0.0):
                pass
        with cluster_lock(Storage.at(tmp_path / "another"), 0.0):
            pass
        process.send_signal(signal.SIGKILL)
    with cluster_lock(folder, 0.0):
        pass


def test_a_cluster_that_does_not_start_the_actor_is_named_and_the_lock_stays_free(
    address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Storage.at(tmp_path / "micro")
    with monkeypatch.context() as impatient:
        impatient.setattr(locks, "ANSWER_SECONDS", 0.0)
        told = "did not start the actor .* within 0 s .*Fix: see with `ray status`"
        with pytest.raises(ClusterError, match=told), cluster_lock(folder, 0.0):
            pass
    with cluster_lock(folder, 0.0):
        pass
