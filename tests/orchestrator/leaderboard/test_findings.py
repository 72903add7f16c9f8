"""What a reader of a board learns beside the scores, also where there is little to learn."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.cells import row_name
from orchestrator.leaderboard.board import Board, board_of
from orchestrator.leaderboard.render import text
from orchestrator.leaderboard.row import Row
from tests.orchestrator.leaderboard.kept import Kept


def row(board: Board, name: str, rank: int | None = None) -> Row:
    (found,) = [r for r in board.rows if r.method == name and r.capacity.get("rank") == rank]
    return found


def board(sweep: Any, examples: int = 200) -> Board:
    return board_of(sweep.recorded(), Kept(sweep, examples))


@pytest.fixture
def apart(sweep_of: Any) -> Any:
    """Rank 4 of `thin` is far better than rank 2, which equals `plain`; all are better than the untuned model."""

    def score(trial: Any) -> float:
        if trial.method.name == "base":
            return 0.1
        return (0.9 if trial.method.capacity.get("rank") == 4 else 0.5) + 0.01 * (trial.seed % 3)

    return sweep_of(score=score)


def test_intervals_hold_the_score_and_ties_tell_what_is_told_apart(apart: Any) -> None:
    found = board(apart)
    for name, rank in (("thin", 2), ("thin", 4), ("plain", None), ("base", None)):
        scored = row(found, name, rank)
        for metric in scored.tasks["reading"].metrics.values():
            assert metric.ci is not None and metric.ci[0] < metric.mean < metric.ci[1]
        assert scored.average is not None and scored.average_ci is not None
        assert scored.average_ci[0] < scored.average < scored.average_ci[1]
    letters = {(r.method, r.capacity.get("rank")): set(r.tie_letters) for r in found.rows if r.rank}
    assert letters["thin", 2] & letters["plain", None]
    assert not letters["thin", 4] & letters["plain", None]
    assert not letters["base", None] & letters["plain", None]
    assert row(found, "thin", 4).rank_interval == (1, 1)
    assert row(found, "plain").rank_interval == (2, 3)
    assert row(found, "base").rank_interval == (4, 4)


def test_families_are_all_pairs_on_average_and_per_task(apart: Any) -> None:
    families = board(apart).analysis.families
    assert [(f.name, f.model, f.task, f.budget) for f in families] == [
        ("all pairs of tiny on average", "tiny", None, None),
        ("all pairs of tiny on reading", "tiny", "reading", None),
        ("all pairs of tiny on counting", "tiny", "counting", None),
    ]
    assert [len(f.pairs) for f in families] == [6, 6, 6]
    (pair,) = [p for p in families[0].pairs if (p.a, p.b) == ("thin (rank=4)", "plain")]
    assert pair.verdict == "better"
    assert pair.difference == pytest.approx(0.4)
    assert (families[0].margin, families[0].left_out) == (0.01, {})


def test_every_budget_has_a_family(sweep_of: Any, sweep_text: str) -> None:
    methods = "thin: {}\n  other: {method: thin, optimizer: another}"
    sweep = sweep_of(sweep_text.replace("thin: {rank: [2, 4]}", methods) + "budgets: {counts: [2_100, 5_200]}\n")
    families = board(sweep).analysis.families
    budgets = {f.budget: {name for p in f.pairs for name in (p.a, p.b)} for f in families if f.task is None}
    solved: dict[int | None, set[str]] = {2100: {"thin (rank=2)", "other (rank=2)", "plain"}, 5200: {"thin (rank=5)", "other (rank=5)"}}
    assert budgets == {None: {*solved[2100], *solved[5200], "base"}, **solved}
    assert families[-1].name == "all pairs of tiny at 5,200 parameters on average"


def test_average_ranks_share_ties(sweep: Any) -> None:
    found = board(sweep)
    (across,) = found.analysis.across_tasks
    assert across.average_ranks == {"thin (rank=2)": 2.0, "thin (rank=4)": 2.0, "plain": 2.0, "base": 4.0}
    assert across.friedman_p is None
    assert row(found, "base").average_rank == 4.0
    assert row(found, "narrow").average_rank is None


def test_friedmans_test_is_shown_from_ten_tasks_on(sweep_of: Any, sweep_text: str) -> None:
    tasks = ", ".join(f"task{number}" for number in range(10))
    (across,) = board_of(sweep_of(sweep_text.replace("[reading, counting]", f"[{tasks}]")).recorded()).analysis.across_tasks
    assert across.friedman_p is not None and across.friedman_p < 0.01


def test_below_three_seeds_there_is_no_interval_and_that_is_said(sweep_of: Any, sweep_text: str) -> None:
    sweep = sweep_of(sweep_text.replace("report: [0, 1, 2]", "report: [0, 1]"))
    found = board(sweep)
    for scored in found.rows:
        if scored.method != "base":
            assert scored.average_ci is None and scored.tie_letters == "" and scored.rank_interval is None
            assert all(metric.ci is None for score in scored.tasks.values() for metric in score.metrics.values())
    assert found.analysis.families == ()
    (note,) = [note for note in found.analysis.notes if "no interval" in note]
    ranked = [r for r in found.rows if r.rank and r.method != "base"]
    rows = ", ".join(row_name(r.method, r.capacity) for r in ranked)
    assert note == f"no interval and no comparison: 2 of at least 3 seeds: {rows} on reading, counting with tiny"
    assert note in text(found, "md")


def test_without_evidence_there_is_no_interval_and_that_is_said(sweep: Any) -> None:
    found = board_of(sweep.recorded())
    assert all(r.average_ci is None and not r.tie_letters for r in found.rows)
    assert any("the predictions were not read" in note for note in found.analysis.notes)
    assert found.analysis.grids and found.analysis.fronts and found.analysis.expected_best


def test_the_analysis_stands_in_the_json(apart: Any) -> None:
    document = json.loads(text(board(apart), "json"))
    assert set(document["analysis"]) == {
        "families",
        "across_tasks",
        "expected_best",
        "grids",
        "sensitivities",
        "fronts",
        "granularities",
        "learning",
        "references",
        "drift",
        "device_hours",
        "notes",
    }
    best = document["rows"][0]
    assert (best["method"], best["tie_letters"], best["rank_interval"], len(best["average_ci"])) == ("thin", "a", [1, 1], 2)
    assert len(best["tasks"]["reading"]["metrics"]["f1"]["ci"]) == 2


def test_one_method_one_task_one_seed(sweep_of: Any, sweep_text: str) -> None:
    lines = sweep_text.replace("[reading, counting]", "[reading]").replace("[0, 1, 2]", "[0]").replace("[1.0e-3, 1.0e-2]", "[1.0e-2]")
    sweep = sweep_of(lines.replace("  thin: {rank: [2, 4]}\n", "").replace("  narrow: {}\n", ""), lambda trial: 0.5)
    found = board(sweep)
    assert [(r.method, r.rank, r.average_rank) for r in found.rows] == [("base", 1, 1.5), ("plain", 1, 1.5)]
    assert found.analysis.sensitivities == ()
    assert all(curve.scores == (0.5,) for curve in found.analysis.expected_best)
    assert json.loads(text(found, "json"))["rows"][1]["average_ci"] is None
    assert text(found, "md").startswith("Certificate: ")


def test_one_task_has_the_interval_of_its_average(sweep_of: Any, sweep_text: str) -> None:
    found = board(sweep_of(sweep_text.replace("[reading, counting]", "[reading]")))
    thin = row(found, "thin", 2)
    assert thin.average_ci == thin.tasks["reading"].metrics["f1"].ci
    average, task = found.analysis.families
    assert (average.task, task.task, task.pairs) == (None, "reading", average.pairs)


def test_a_sweep_of_which_nothing_ran(sweep: Any) -> None:
    sweep.outcomes.clear()
    found = board(sweep)
    assert found.analysis.families == () and found.analysis.fronts == () and found.analysis.device_hours == {}
    assert {status for grid in found.analysis.grids for point in grid.points for status in point.statuses} == {"missing"}
    assert [r.rank for r in found.rows] == [None] * 5
    for form in ("json", "md", "csv"):
        assert text(found, form)


def test_metrics_that_are_not_finite_leave_the_row_incomplete(sweep: Any) -> None:
    (trial,) = sweep.find("report", "plain", seed=1)
    sweep.outcomes[trial.id].metrics["test/f1"] = float("nan")
    sweep.change(sweep.find("report", "thin", rank=2, seed=0), profile={"seconds_per_step": float("nan")})
    found = board(sweep)
    plain = row(found, "plain")
    assert (plain.rank, plain.average_ci, plain.tie_letters) == (None, None, "")
    assert any("incomplete: reading (1 finished without f1)" in mark for mark in plain.marks)
    assert row(found, "thin", 2).seconds_per_step == 0.5
    json.loads(text(found, "json"), parse_constant=pytest.fail)


def test_two_models_are_compared_apart(sweep_of: Any, sweep_text: str) -> None:
    found = board(sweep_of(sweep_text.replace("[tiny]", "[tiny, wide]").replace("[reading, counting]", "[reading]")))
    assert [f.model for f in found.analysis.families] == ["tiny", "tiny", "wide", "wide"]
    assert all(r.tie_letters for r in found.rows if r.rank)
