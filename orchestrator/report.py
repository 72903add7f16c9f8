"""What a run says at its end: what became of it, and the leaderboard from MLflow."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from orchestrator.cells import row_name
from orchestrator.leaderboard.board import Board
from orchestrator.leaderboard.reading import read_board
from orchestrator.leaderboard.render import table
from orchestrator.plan import Plan
from orchestrator.sweep.runner import RunResult
from orchestrator.time_bar import TimeBar
from orchestrator.tracking.connection import shown_uri, tracking_uri
from orchestrator.tracking.delivery import Tracker

log = logging.getLogger(__name__)

PAGE = "leaderboard.html"
"""Artifact of the sweep run."""


class RunReport:
    """The answer of `fairsweep run`."""

    def __init__(self, plan: Plan, result: RunResult, uri: str) -> None:
        self.plan, self.result, self.uri = plan, result, uri

    @cached_property
    def board(self) -> Board | None:
        """The leaderboard, read back from MLflow; None while MLflow lacks some of the Outcomes."""
        if self.result.undelivered:
            return None
        return read_board(self.uri, self.plan.spec.name, self.plan.digest)

    def publish(self) -> str | None:
        """Put the leaderboard's page on the sweep run, where MLflow shows it; return what kept it from there, or None.

        The run is over: whatever goes wrong here is told and costs no result.
        """
        sweep = self.plan.spec.name
        try:
            if self.board is not None:
                from orchestrator.leaderboard.page import html

                Tracker(self.uri, sweep, self.plan.digest).attach(PAGE, html(self.board.to_json()))
        except Exception as error:
            log.debug("no page", exc_info=True)
            fix = f"Fix: `fairsweep leaderboard {sweep} --format html` makes it"
            return f"the page of the leaderboard could not be put into MLflow: {shown_uri(str(error) or repr(error))}. {fix}"
        return None

    def warnings(self) -> list[str]:
        """Return what went wrong, one line each."""
        lines = [
            f"trial {t.id} ({t.label}, {t.task}, seed {t.seed}, {t.phase}) {outcome.status}: {_last_line(outcome.error)}"
            for t, outcome in self.result.failed
        ]
        if self.result.undelivered:
            lines.append(
                f"{len(self.result.undelivered)} records could not be delivered to {shown_uri(self.uri)}; they are saved. "
                "Fix: run the same command again when it answers"
            )
        return lines

    def stop_notice(self, argv: Sequence[str]) -> list[str]:
        """Return why the sweep stopped between the phases and the commands that go on, one line each; nothing where it did not stop."""
        stopped, sweep = self.result.stopped_at, self.plan.spec.name
        if not stopped:
            return []
        noun = "point lies" if len(stopped) == 1 else "points lie"
        tracking = "" if self.uri == tracking_uri(None) else f" --tracking-uri {shlex.quote(shown_uri(self.uri))}"
        return [
            f"stopped before the report phase: {len(stopped)} selected {noun} on the edge of the grid; better ones may lie beyond (F9)",
            *(f"  {cell}: {'; '.join(map(str, edges))}" for cell, edges in stopped.items()),
            "What has run is kept, and none of these points has read the test split. To go on, extend the grid by a step for all methods,",
            f"and run the file that this writes: fairsweep extend {sweep}{tracking}",
            f"Or report these points as they are, their rows marked: {self.command(argv)} --accept-edge",
        ]

    def command(self, argv: Sequence[str]) -> str:
        """Return the command that continues this run."""
        return shlex.join([Path(argv[0]).name, *argv[1:]])

    def to_json(self) -> dict[str, Any]:
        """Return what `fairsweep run --json` prints."""
        result, board = self.result, self.board
        document = board.to_json() if board else {"certificate": self.plan.certificate.to_json(), "rows": []}
        return {
            "sweep": self.plan.spec.name,
            "digest": self.plan.digest,
            "trials": result.trials,
            "finished": result.finished,
            "failed": len(result.failed),
            "pruned": result.pruned,
            "skipped": result.skipped,
            "wall_seconds": result.wall_seconds,
            "train_seconds": result.train_seconds,
            "side_by_side": result.side_by_side,
            "longest_pause_seconds": result.longest_pause_seconds,
            "time": result.time.to_json(),
            "packing": [choice.model_dump(mode="json") for choice in result.packing],
            "experiment_id": result.experiment_id,
            "tracking_uri": shown_uri(self.uri),
            "undelivered": list(result.undelivered),
            "stopped_at": [
                {"row": row_name(cell.label, cell.config), "task": cell.task, "model": cell.model, **edge.to_json()}
                for cell, edges in result.stopped_at.items()
                for edge in edges
            ],
            "certificate": document["certificate"],
            "leaderboard": document["rows"],
        }

    def renderables(self) -> list[RenderableType]:
        """Return what is shown on a terminal."""
        result = self.result
        parts: list[RenderableType] = [table(self.board)] if self.board and not result.stopped_at else []
        skipped = f", {result.skipped} of them before this run" if result.skipped else ""
        pruned = f", {result.pruned} halved out" if result.pruned else ""
        parts.append(Text(f"{result.finished} of {result.trials} trials finished{skipped}, {len(result.failed)} failed{pruned}."))
        if result.side_by_side:
            parts.append(
                Text(
                    f"{result.wall_seconds:.0f} s in all, {result.train_seconds:.0f} s of training and evaluation on {result.side_by_side} "
                    f"trials side by side; at most {result.longest_pause_seconds:.2f} s between trials. Where the time went:"
                )
            )
            parts.append(TimeBar(result.time.seconds))
        parts.append(Text(f"MLflow: {shown_uri(self.uri)}, experiment fairsweep/{self.plan.spec.name}. Browse it with: fairsweep ui"))
        return parts


def _last_line(error: str | None) -> str:
    lines = [line for line in (error or "no reason known").strip().splitlines() if line.strip()]
    return lines[-1][:300]
