"""Costs on the board: of ordinary sweeps, and of profiles."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from orchestrator.leaderboard.board import Board, board_of
from orchestrator.leaderboard.columns import NO_PROFILE, columns, notes
from orchestrator.leaderboard.row import Row

SOLO = "resources: {solo: true}\n"
PROFILED = ["GFLOPs/step", "GMACs/step", "adapter", "load s"]


def row_of(board: Board, method: str) -> Row:
    return next(row for row in board.rows if row.method == method)


def runs_of(sweep: Any, method: str) -> list[Any]:
    return [trial for task in ("reading", "counting") for trial in sweep.find("report", method, task)]


def alone(sweep: Any) -> dict[str, Any]:
    """An environment that is the sweep's but for the company of the trial, which is no part of its digest."""
    usual = sweep.outcomes[runs_of(sweep, "plain")[0].id]
    environment = {**usual.environment, "execution": {**usual.environment["execution"], "solo": True}}
    return {"environment": environment, "environment_digest": usual.environment_digest}


def profile(seconds: float, flops: float, peak: int) -> dict[str, Any]:
    costs = {"seconds_per_step": seconds, "flops": flops, "macs": flops / 2, "forward_flops": flops / 4, "load_seconds": 0.25}
    return {"profile": {**costs, "peak_bytes": peak, "adapter_bytes": 2048}}


def test_times_and_operations_are_means_and_memory_is_the_largest(sweep: Any) -> None:
    trials = runs_of(sweep, "plain")
    for number, trial in enumerate(trials):
        sweep.change([trial], **profile(number, 1e9 * number, 100 + number))
    document = row_of(board_of(sweep.recorded()), "plain").model_dump(mode="json")
    mean, last = (len(trials) - 1) / 2, len(trials) - 1
    assert (document["seconds_per_step"], document["flops"], document["macs"]) == (mean, 1e9 * mean, 5e8 * mean)
    assert document["forward_flops"] == 2.5e8 * mean
    assert (document["peak_bytes"], document["adapter_bytes"], document["load_seconds"]) == (100 + last, 2048, 0.25)


def test_an_ordinary_board_stays_narrow_and_says_what_its_times_are(sweep: Any) -> None:
    board = board_of(sweep.recorded())
    headers = [header for header, _ in columns(board)]
    assert "s/step" in headers and not set(PROFILED) & set(headers)
    assert notes(board)[-1] == NO_PROFILE


def test_a_board_of_profiles_shows_what_a_step_computes(sweep_of: Callable[..., Any], sweep_text: str) -> None:
    sweep = sweep_of(sweep_text + SOLO)
    sweep.change(runs_of(sweep, "plain"), **profile(0.5, 2.5e9, 10**6), **alone(sweep))
    board = board_of(sweep.recorded())
    shown = {header: text(row_of(board, "plain")) for header, text in columns(board)}
    assert [shown[header] for header in PROFILED] == ["2.5", "1.25", "2.0 kB", "0.25"]
    assert not row_of(board, "plain").marks and NO_PROFILE not in notes(board)


def test_results_of_before_do_not_pass_for_profiles(sweep_of: Callable[..., Any], sweep_text: str) -> None:
    ordinary, solo = sweep_of(), sweep_of(sweep_text + SOLO)
    assert [trial.id for trial in ordinary.trials] == [trial.id for trial in solo.trials], "so they are not run again"
    solo.change(runs_of(solo, "plain")[1:], **alone(solo))
    (mark,) = row_of(board_of(solo.recorded()), "plain").marks
    assert "1 of 6 runs" in mark and "another name" in mark
    assert not any("no profile" in mark for row in board_of(ordinary.recorded()).rows for mark in row.marks)
