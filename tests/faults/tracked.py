"""A world whose runs go to a real MLflow server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from tests.faults.lab import Lab
from tests.faults.world import World
from tests.services.tracking_server import TrackingServer


@contextmanager
def tracked(lab: Lab, backend_uri: str | None = None, delivery_seconds: float = 900) -> Iterator[tuple[World, TrackingServer]]:
    """Start a server, and make a world that delivers to it; this process may read what it holds.

    Args:
        backend_uri: the server's database; None for a SQLite file.
        delivery_seconds: how long the end of a run waits for a server that is away.
    """
    with lab.folder() as folder, TrackingServer(backend_uri or f"sqlite:///{folder}/server.db") as server, server.logged_in():
        environment = {**server.credentials, "FAIRSWEEP_DELIVERY_SECONDS": str(delivery_seconds)}
        with lab.world(uri=server.uri, environment=environment) as world:
            yield world, server
