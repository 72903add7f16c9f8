"""What an appendix is written from: the board, the runs behind it, the plan and the sweep file, all from MLflow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.appendix.words import mapping
from orchestrator.leaderboard.analysis import Grid
from orchestrator.leaderboard.board import Board
from orchestrator.leaderboard.reading import read_board
from orchestrator.recorded import RecordedSweep, load
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

    @property
    def models(self) -> list[str]:
        """The base models, in the order of the sweep file."""
        return list(dict.fromkeys(planned.model for planned in self.sweep.plan.base_trials))

    @property
    def grids(self) -> tuple[Grid, ...]:
        """The grids of all rows."""
        return self.board.analysis.grids


def read_source(uri: str, sweep: str | None = None) -> Source:
    """Read a sweep.

    Args:
        uri: tracking URI.
        sweep: its name; the one that ran last when None.

    Raises:
        UnknownNameError: there is no such sweep.
        TrackingError: the store does not answer, or lacks the plan.
    """
    reader = RunReader(uri)
    name = sweep or reader.latest_sweep()
    document = reader.sweep_document(name)
    digest = str(document.get("digest", ""))
    try:
        spec: str | None = reader.sweep_artifact(name, "spec.yaml", digest)
    except TrackingError:
        spec = None
    return Source(read_board(uri, name, digest), load(reader, name, digest), document, spec)
