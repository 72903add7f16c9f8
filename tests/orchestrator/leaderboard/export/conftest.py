"""Boards to print: one with intervals, and what is done to it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.audit import Audit
from orchestrator.fairness import Rule
from orchestrator.leaderboard.board import Board, board_of
from tests.orchestrator.leaderboard.kept import Kept

HOSTILE = '\\input{/etc/passwd} $x_1$ %~^&# {<script>} "quotes" \'αβ Ωé ß лора 模型 \u202eabc\x1b[31m\n* [2pt] `--`'


@pytest.fixture
def board(sweep: Any) -> Board:
    """Two tasks, six rows of which one is refused, a diverged run, intervals and ties."""
    sweep.change(sweep.find("report", "thin", rank=4, seed=2), status="diverged", error="loss is NaN at step 3")
    return board_of(sweep.recorded(), Kept(sweep, 100))


@pytest.fixture
def hostile(board: Board) -> Board:
    """A board whose names and texts would do harm if they were obeyed."""
    row = board.rows[0]
    (failed,) = next(r.failed_runs for r in board.rows if r.failed_runs)
    changed = {"method": HOSTILE, "marks": (HOSTILE, "x" * 10_000), "failed_runs": (failed.model_copy(update={"error": HOSTILE}),)}
    long = board.rows[1].model_copy(update={"method": "m" * 10_000})
    return replace(board, rows=(row.model_copy(update=changed), long, *board.rows[2:]), sweep=HOSTILE)


@pytest.fixture
def failing() -> Callable[[Board], Board]:
    """Makes the certificate of a board fail."""

    def fail(board: Board) -> Board:
        return replace(board, certificate=Audit((Rule("F3", "identical data", False, {"deviations": ["x"]}),)))

    return fail


@pytest.fixture
def wide() -> Callable[[Board, int], Board]:
    """Gives a board more tasks, with the scores of its first one."""

    def widen(board: Board, tasks: int) -> Board:
        names = [f"task{number}" for number in range(tasks)]
        first = next(iter(board.tasks))
        rows = [r.model_copy(update={"tasks": dict.fromkeys(names, r.tasks[first]) if r.tasks else {}}) for r in board.rows]
        return replace(board, tasks=dict.fromkeys(names, board.tasks[first]), rows=tuple(rows))

    return widen
