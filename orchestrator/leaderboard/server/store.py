"""What the server holds, read from its own store without a request to itself."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from threading import Lock
from typing import TYPE_CHECKING

from orchestrator.tracking import schema
from orchestrator.tracking.connection import connect, readable, search, sweep_experiments
from orchestrator.tracking.records import RAN
from search_spaces.errors import TrackingError, UnknownNameError

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from orchestrator.leaderboard.board import Board


@dataclass(frozen=True)
class SweepEntry:
    """A sweep that the server holds."""

    name: str
    experiment_id: str
    running: bool = False
    """Whether its newest digest is being run, as far as the store says: a driver that was killed says nothing."""
    last_ran: float | None = None
    """Unix time in seconds; None where no run of the sweep is recorded."""


class ServerStore:
    """Reads sweeps and boards.

    Args:
        uri: the server's backend store.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self._looking = Lock()
        """A read of all runs takes seconds for thousands: whoever waited for another one finds what that one noted."""

    @cached_property
    def client(self) -> MlflowClient:
        """A client of the backend store.

        Raises:
            TrackingError: the server has none, since it keeps artifacts alone, or one with workspaces.
        """
        from mlflow.environment_variables import MLFLOW_ENABLE_WORKSPACES

        if not self.uri:
            raise TrackingError("this server holds no runs, only artifacts. Fix: ask the MLflow server that holds the runs")
        if MLFLOW_ENABLE_WORKSPACES.get():
            # A board is known by its sweep's name, which several workspaces may hold.
            raise TrackingError("the leaderboard does not tell MLflow's workspaces apart. Fix: serve it without --enable-workspaces")
        connect(self.uri)
        from orchestrator.leaderboard.server.client import ServerClient

        with readable(self.uri):
            return ServerClient(tracking_uri=self.uri)

    def sweeps(self) -> list[SweepEntry]:
        """Return the sweeps, the one that ran last first."""
        with readable(self.uri):
            experiments = sweep_experiments(self.client)
            found = {name: SweepEntry(name, str(experiment_id)) for name, experiment_id in experiments.items()}
            for entry in self._ran(experiments):
                if entry.name in found and (found[entry.name].last_ran or 0) <= (entry.last_ran or 0):
                    found[entry.name] = entry
        return sorted(found.values(), key=lambda entry: (-(entry.last_ran or 0), entry.name))

    def state(self, entry: SweepEntry) -> str:
        """Return a fingerprint of all that a sweep's board depends on; raises as `board` does."""
        from orchestrator.leaderboard.reading import board_state

        with _discreet(entry), self._looking:
            return board_state(self.uri, entry.name, client=self.client)

    def board(self, entry: SweepEntry) -> Board:
        """Return the board of a sweep.

        Raises:
            AwayError: the store does not answer.
            TrackingError: the store holds no plan of this sweep, or a damaged one.
        """
        from orchestrator.leaderboard.reading import read_board

        with _discreet(entry):
            return read_board(self.uri, entry.name, client=self.client)

    def _ran(self, experiments: dict[str, str]) -> Iterable[SweepEntry]:
        names = {str(experiment_id): name for name, experiment_id in experiments.items()}
        for run in search(self.client, list(names), f"tags.`{schema.KIND}` = 'sweep'"):
            tags, experiment_id = run.data.tags, str(run.info.experiment_id)
            yield SweepEntry(names[experiment_id], experiment_id, tags.get(schema.STATUS) == "running", _seconds(tags.get(RAN)))


@contextmanager
def _discreet(entry: SweepEntry) -> Iterator[None]:
    """Let the error about a sweep that went away meanwhile not name all others, which not everybody may know of."""
    try:
        yield
    except UnknownNameError:
        raise UnknownNameError("sweep", entry.name, ()) from None


def _seconds(text: str | None) -> float:
    try:
        return float(text or 0)
    except ValueError:
        return 0.0
