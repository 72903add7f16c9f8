"""What an appendix is written from: the board, the runs behind it, the plan and the sweep file, all from MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.appendix.words import mapping
from orchestrator.leaderboard.board import Board
from orchestrator.leaderboard.reading import read_board
from orchestrator.recorded import RecordedSweep
from orchestrator.tracking.connection import AwayError
from orchestrator.tracking.records import RunReader
from search_spaces.errors import TrackingError


@dataclass(frozen=True)
class Source:
    """A sweep, read whole.

    Attributes:
        document: plan.json with all that it holds.
        spec: text of the sweep file as it ran; None where MLflow does not hold it.
    """

    board: Board
    sweep: RecordedSweep
    document: Mapping[str, Any]
    spec: str | None

    @property
    def settings(self) -> Mapping[str, Any]:
        """The sweep file with its defaults filled in."""
        return mapping(self.document.get("spec"))


def read_source(uri: str, sweep: str) -> Source:
    """Read a sweep, all of it as it is at one moment but for the board, which may have been kept.

    Args:
        uri: tracking URI.
        sweep: its name.

    Raises:
        UnknownNameError: there is no such sweep.
        AwayError: the store does not answer.
        TrackingError: it lacks the plan.
    """
    board, reader = read_board(uri, sweep), RunReader(uri)
    reader.pin(sweep)
    document = reader.sweep_document(sweep, board.digest)
    recorded = RecordedSweep(document, reader.runs(sweep), reader.sweep_runs(sweep))
    try:
        spec: str | None = reader.sweep_artifact(sweep, "spec.yaml", board.digest)
    except AwayError:
        raise
    except TrackingError:
        spec = None
    return Source(board, recorded, document, spec)
