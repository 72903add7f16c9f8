"""What a run says at its end: what became of it, and the leaderboard from MLflow."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.text import Text

from orchestrator.leaderboard.board import Board, board_of
from orchestrator.leaderboard.render import table
from orchestrator.plan import Plan
from orchestrator.recorded import load
from orchestrator.sweep.runner import RunResult
from orchestrator.tracking.connection import shown_uri
from orchestrator.tracking.records import RunReader


class RunReport:
    """The answer of `fairsweep run`."""

    def __init__(self, plan: Plan, result: RunResult, uri: str) -> None:
        self.plan, self.result, self.uri = plan, result, uri

    @cached_property
    def board(self) -> Board | None:
        """The leaderboard, read back from MLflow; None while MLflow lacks some of the Outcomes."""
        if self.result.undelivered:
            return None
        return board_of(load(RunReader(self.uri), self.plan.spec.name, self.plan.digest))

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
            "skipped": result.skipped,
            "wall_seconds": result.wall_seconds,
            "train_seconds": result.train_seconds,
            "side_by_side": result.side_by_side,
            "longest_pause_seconds": result.longest_pause_seconds,
            "experiment_id": result.experiment_id,
            "tracking_uri": shown_uri(self.uri),
            "undelivered": list(result.undelivered),
            "certificate": document["certificate"],
            "leaderboard": document["rows"],
        }

    def renderables(self) -> list[RenderableType]:
        """Return what is shown on a terminal."""
        result = self.result
        parts: list[RenderableType] = [table(self.board)] if self.board else []
        skipped = f", {result.skipped} of them before this run" if result.skipped else ""
        parts.append(Text(f"{result.finished} of {result.trials} trials finished{skipped}, {len(result.failed)} failed."))
        if result.side_by_side:
            parts.append(
                Text(
                    f"{result.wall_seconds:.0f} s in all, {result.train_seconds:.0f} s of training and evaluation on {result.side_by_side} "
                    f"trials side by side; at most {result.longest_pause_seconds:.2f} s between trials."
                )
            )
        parts.append(Text(f"MLflow: {shown_uri(self.uri)}, experiment fairsweep/{self.plan.spec.name}. Browse it with: fairsweep ui"))
        return parts


def _last_line(error: str | None) -> str:
    lines = [line for line in (error or "no reason known").strip().splitlines() if line.strip()]
    return lines[-1][:300]
