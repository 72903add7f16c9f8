"""The numbers of a leaderboard, against values computed by hand."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.leaderboard.board import Board, board_of
from orchestrator.leaderboard.row import Row


def row(board: Board, method: str, **capacity: int) -> Row:
    (found,) = [r for r in board.rows if r.method == method and (not capacity or r.capacity == capacity)]
    return found


def test_mean_and_sample_spread_over_report_seeds(sweep: Any) -> None:
    thin = row(board_of(sweep.recorded()), "thin", rank=2)
    score = thin.tasks["reading"]
    assert (score.main, score.seeds, score.finished, score.selected) == ("f1", 3, 3, {"learning_rate": 0.01, "scale": 1.0})
    assert score.metrics["f1"].mean == pytest.approx(0.6)
    assert score.metrics["f1"].std == pytest.approx(0.1)
    assert score.metrics["em"].mean == pytest.approx(0.3)
    assert set(score.metrics) == {"f1", "em"}
    assert score.metrics["f1"].ci is None
    assert thin.average == pytest.approx(0.6)
    assert (thin.implementation, thin.trainable, thin.model, thin.failures) == ("thin", 2003, "tiny", 0)
    assert (thin.seconds_per_step, thin.peak_bytes, thin.adapter_bytes) == (0.5, 1_500_000_000, 4096)
    assert len(thin.runs) == 6


def test_the_json_has_the_documented_keys(sweep: Any) -> None:
    document = board_of(sweep.recorded()).to_json()
    assert {"sweep", "rows", "certificate"} <= document.keys()
    keys = {
        "method",
        "implementation",
        "capacity",
        "trainable",
        "counts",
        "adapter_bytes",
        "model",
        "tasks",
        "average",
        "average_ci",
    }
    keys |= {"rank", "rank_interval", "tie_letters", "failures", "seconds_per_step", "peak_bytes", "runs", "marks"}
    assert keys <= document["rows"][0].keys()
    assert document["rows"][0]["counts"].keys() == {"peak", "stored", "head"}
    assert document["rows"][0]["tasks"]["reading"].keys() >= {"main", "metrics", "seeds", "finished", "selected"}


def test_the_untuned_model_is_ranked_like_the_others(sweep_of: Any) -> None:
    def score(trial: Any) -> float:
        return {"base": 0.5, "plain": 0.45}.get(trial.method.name, 0.1 * trial.method.capacity.get("rank", 0) + 0.2)

    board = board_of(sweep_of(score=score).recorded())
    ranked = [(r.method, r.capacity, r.rank) for r in board.rows if r.rank]
    assert ranked == [("thin", {"rank": 4}, 1), ("base", {}, 2), ("plain", {}, 3), ("thin", {"rank": 2}, 4)]
    base = row(board, "base")
    assert (base.trainable, base.tasks["reading"].seeds, base.tasks["reading"].metrics["f1"].std) == (0, 1, None)


def test_equal_averages_share_a_rank(sweep: Any) -> None:
    board = board_of(sweep.recorded())
    assert sorted((r.rank, r.method) for r in board.rows if r.rank) == [(1, "plain"), (1, "thin"), (1, "thin"), (4, "base")]


def test_a_diverged_run_scores_as_the_untuned_model(sweep: Any) -> None:
    sweep.change(sweep.find("report", "thin", rank=2, seed=2), status="diverged")
    thin = row(board_of(sweep.recorded()), "thin", rank=2)
    score = thin.tasks["reading"]
    assert score.metrics["f1"].mean == pytest.approx((0.5 + 0.6 + 0.2) / 3)
    assert score.metrics["em"].mean == pytest.approx((0.25 + 0.3 + 0.1) / 3)
    assert (score.finished, score.seeds, thin.failures) == (2, 3, 1)
    assert thin.failed_runs[0].status == "diverged"
    assert thin.average == pytest.approx(((0.5 + 0.6 + 0.2) / 3 + 0.6) / 2)
    assert thin.rank == 3


@pytest.mark.parametrize("status", ["out_of_memory", "error"])
def test_another_failure_leaves_the_row_incomplete_and_unranked(sweep: Any, status: str) -> None:
    sweep.change(sweep.find("report", "plain", seed=1), status=status)
    board = board_of(sweep.recorded())
    plain = row(board, "plain")
    assert (plain.average, plain.rank, plain.failures) == (None, None, 1)
    assert plain.tasks["reading"].metrics == {}
    assert plain.tasks["counting"].metrics["f1"].mean == pytest.approx(0.6)
    assert any("incomplete: reading" in mark and status in mark for mark in plain.marks)
    assert board.rows.index(plain) > max(board.rows.index(r) for r in board.rows if r.rank)


def test_a_missing_run_leaves_the_row_incomplete_and_is_told(sweep: Any) -> None:
    (trial,) = sweep.find("report", "plain", seed=1)
    del sweep.outcomes[trial.id]
    board = board_of(sweep.recorded())
    plain = row(board, "plain")
    assert (plain.average, plain.rank, plain.failures, plain.tasks["reading"].finished) == (None, None, 0, 2)
    assert any("1 missing" in mark for mark in plain.marks)
    assert board.certificate.missing == ("plain on reading with tiny: report seed 1 at learning_rate=0.01, scale=1.0",)
    assert "1 planned trials have not run" in board.verdict()


def test_a_diverged_run_beside_a_failed_base_leaves_the_row_incomplete(sweep: Any) -> None:
    sweep.change(sweep.find("report", "plain", seed=1), status="diverged")
    sweep.change(sweep.find("report", "base"), status="error")
    board = board_of(sweep.recorded())
    assert row(board, "plain").rank is None
    assert row(board, "base").rank is None
    assert row(board, "thin", rank=2).rank == 1


def test_a_refused_method_has_a_row_with_the_reason(sweep: Any) -> None:
    refused = board_of(sweep.recorded()).rows[-1]
    assert (refused.method, refused.rank, refused.tasks, refused.trainable) == ("narrow", None, {}, None)
    assert refused.marks == ("not applicable: narrow is defined for narrow models only",)


def test_before_anything_ran_every_row_stands_there_empty(sweep: Any) -> None:
    sweep.outcomes.clear()
    board = board_of(sweep.recorded())
    assert [(r.method, r.rank) for r in board.rows] == [
        ("base", None),
        ("thin", None),
        ("thin", None),
        ("plain", None),
        ("narrow", None),
    ]
    assert row(board, "plain").tasks["reading"].selected is None
    assert row(board, "plain").tasks["reading"].seeds == 3


def test_report_runs_at_another_point_do_not_count(sweep: Any, recorded_run: Any, outcome_with: Any) -> None:
    cell = next(cell for cell in sweep.plan.cells if cell.label == "plain" and cell.task == "reading")
    others = sweep.plan.report_trials({cell: {"learning_rate": 0.001, "scale": 1.0}})
    board = board_of(sweep.recorded(*(recorded_run(trial, outcome_with(trial, 0.99)) for trial in others)))
    assert row(board, "plain").tasks["reading"].metrics["f1"].mean == pytest.approx(0.6)
    assert "breaks F6" in row(board, "plain").marks


def test_runs_of_another_digest_do_not_count_and_shared_trials_do(sweep: Any, sweep_of: Any, sweep_text: str) -> None:
    other = sweep_of(sweep_text.replace("steps: 2", "steps: 3"), lambda trial: 0.99)
    relabelled = sweep_of(sweep_text.replace("  thin:", "  slim:\n    method: thin\n    rank: [2, 4]\n  #"))
    board = board_of(sweep.recorded(*other.records()))
    assert row(board, "thin", rank=2).average == pytest.approx(0.6)
    assert board.certificate.ok
    shared = relabelled.recorded()
    shared_board = board_of(type(shared)(relabelled.plan.document(), sweep.records()))
    assert row(shared_board, "slim", rank=2).average == pytest.approx(0.6)


def test_unreadable_runs_of_another_digest_do_no_harm(sweep: Any, recorded_run: Any, outcome_with: Any) -> None:
    (trial,) = sweep.find("report", "plain", seed=1)
    old = recorded_run(trial.model_copy(update={"seed": 9}), outcome_with(trial, 0.99))
    old.tags["fairsweep.trial_json"] = "{}"
    board = board_of(sweep.recorded(old))
    assert row(board, "plain").average == pytest.approx(0.6)


def test_two_models_are_ranked_apart(sweep_of: Any, sweep_text: str) -> None:
    board = board_of(sweep_of(sweep_text.replace("[tiny]", "[tiny, wide]")).recorded())
    assert [r.model for r in board.rows] == ["tiny"] * 5 + ["wide"] * 5
    assert [r.rank for r in board.rows if r.method == "base"] == [4, 4]


def test_a_model_is_ranked_on_the_tasks_that_it_can_do(sweep_of: Any, sweep_text: str) -> None:
    text = sweep_text.replace("models: [tiny]", "models: [tiny, reader]").replace("[reading, counting]", "[grades, kinds]")
    found = {(r.model, r.method, r.capacity.get("rank")): r for r in board_of(sweep_of(text).recorded()).rows}
    partial, whole = found["tiny", "thin", 2], found["reader", "thin", 2]
    assert set(partial.tasks) == {"kinds"} and partial.average == pytest.approx(0.6)
    assert partial.rank is not None and found["tiny", "base", None].rank is not None
    (mark,) = [mark for mark in partial.marks if mark.startswith("not applicable")]
    assert "to grades: grades has no form for causal language models" in mark
    assert set(whole.tasks) == {"grades", "kinds"} and whole.average == pytest.approx(0.6)
    assert not [mark for mark in whole.marks if mark.startswith("not applicable")]
