"""Starts Ray for a sweep, here or on a cluster, and ends what it started."""

from __future__ import annotations

import logging
import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from cluster.cores import usable_cores
from search_spaces.errors import FairsweepError

ADDRESS_FIX = "Fix: start it with `ray start --head`, check --address, or leave it out to run on this machine"


class ClusterError(FairsweepError):
    """A Ray cluster that cannot be reached or used."""


OBJECT_STORE_BYTES = 128 * 2**20
"""Only trial descriptions pass through Ray's object store; its default would reserve a third of the memory."""

# Read when Ray and Tune are imported.
_SETTINGS = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_AUTO_CALLBACK_SYNCER": "1",
    # fit() would swallow Ctrl-C and return as if it had finished.
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # Outcomes are the truth; Tune's own snapshot is never read.
    "TUNE_GLOBAL_CHECKPOINT_S": str(10**9),
    "TUNE_RESULT_BUFFER_LENGTH": "0",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
}


@contextmanager
def ray_session(address: str | None) -> Iterator[None]:
    """Connect to the Ray cluster at `address`, or start one in this process's name; end it afterwards.

    Args:
        address: as `host:port`, or `auto` for the cluster that this machine is a node of; None starts Ray on this machine, listening on
            loopback only.

    Raises:
        ClusterError: there is no such cluster, or it does not let this user in.
    """
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    if address is None:
        # Otherwise a token is left behind that switches authentication on for any Ray that is started here later.
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
        # On these systems Ray keeps to loopback, and this tells it to do as there; else its ports would be open to the network.
        os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] = "0"
    import ray

    quiet = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": False}
    if address is None:
        # Ray would count cores that a scheduler or `taskset` keeps from this process.
        ray.init(address="local", num_cpus=usable_cores(), include_dashboard=False, object_store_memory=OBJECT_STORE_BYTES, **quiet)
    else:
        _reach(address)
        try:
            ray.init(address=address, **quiet)
        except (ConnectionError, ValueError, RuntimeError, ray.exceptions.RayError) as error:
            raise ClusterError(f"cannot use the Ray cluster at {address}: {str(error).strip().splitlines()[0]}. {ADDRESS_FIX}") from error
    try:
        yield
    finally:
        ray.shutdown()


def _reach(address: str) -> None:
    """Raise ClusterError when nothing listens at `host:port`; Ray itself would try for minutes."""
    if address == "auto":
        return
    if address.startswith("ray://"):
        raise ClusterError(
            f"{address!r} is an address of Ray Client, from outside of the cluster. Fix: run it on the cluster with `fairsweep submit`, "
            "or on one of its nodes with --address auto"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ClusterError(f"{address!r} is not an address. Valid: auto, or HOST:PORT, such as 10.0.0.1:6379. {ADDRESS_FIX}")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=5).close()
    except OSError as error:
        raise ClusterError(f"no Ray cluster answers at {address}: {error}. {ADDRESS_FIX}") from error


@contextmanager
def throw_away_folder() -> Iterator[str]:
    """Give Tune a folder of its own for the length of a run."""
    with tempfile.TemporaryDirectory(prefix="fairsweep-tune-", ignore_cleanup_errors=True) as folder:
        yield folder
