"""From predictions to samples, and to the intervals of the rows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from orchestrator.audit import audit
from orchestrator.leaderboard.board import board_of
from orchestrator.leaderboard.row import Row
from orchestrator.leaderboard.rows import rows_of
from orchestrator.leaderboard.samples import Samples, samples_of
from tests.orchestrator.leaderboard.kept import EXAMPLES, Kept


def row(rows: Any, method: str, rank: int | None = None) -> Row:
    (found,) = [r for r in rows if r.method == method and r.capacity.get("rank") == rank]
    return found


def samples(sweep: Any, kept: Kept) -> tuple[list[Row], Samples]:
    recorded = sweep.recorded()
    rows = rows_of(recorded, audit(recorded))
    return rows, samples_of(recorded, rows, kept)


def runs(sweep: Any, label: str, task: str = "reading", **point: Any) -> list[str]:
    return [f"run-{trial.id}" for trial in sweep.find("report", label, task, **point)]


def test_a_sample_holds_every_seed_on_the_same_examples(sweep: Any) -> None:
    rows, found = samples(sweep, Kept(sweep))
    sample = found.of(row(rows, "thin", 2), "reading")["f1"]
    assert sample.values_SN is not None
    assert sample.values_SN.shape == (3, EXAMPLES)
    assert sample.values_SN.mean(1) == pytest.approx([0.5, 0.6, 0.7])
    assert sample.groups_N.tolist() == [number // 2 for number in range(EXAMPLES)]
    assert not found.left_out
    base = found.of(row(rows, "base"), "reading")["f1"]
    assert (base.seeds, base.trained) == (1, False)


def test_predictions_are_matched_by_their_ids(sweep: Any) -> None:
    kept, shuffled = Kept(sweep), Kept(sweep)
    for run in runs(sweep, "thin", rank=2, seed=1):
        order = np.random.default_rng(0).permutation(EXAMPLES)
        shuffled.tables[run] = shuffled.tables[run].take(order)
    rows, found = samples(sweep, kept)
    _, again = samples(sweep, shuffled)
    thin = row(rows, "thin", 2)
    assert np.array_equal(found.of(thin, "reading")["f1"].values_SN, again.of(thin, "reading")["f1"].values_SN)  # type: ignore[arg-type]


def test_a_diverged_seed_has_the_untuned_models_values(sweep: Any) -> None:
    sweep.change(sweep.find("report", "plain", seed=1), status="diverged")
    rows, found = samples(sweep, Kept(sweep))
    plain, base = (found.of(row(rows, name), "reading")["f1"].values_SN for name in ("plain", "base"))
    assert plain is not None and base is not None
    assert np.array_equal(plain[1], base[0])
    assert plain.mean() == pytest.approx(row(rows, "plain").tasks["reading"].metrics["f1"].mean)


def test_a_diverged_seed_without_the_untuned_models_predictions_leaves_its_row_out(sweep: Any) -> None:
    sweep.change(sweep.find("report", "plain", seed=1), status="diverged")
    kept = Kept(sweep)
    del kept.tables[runs(sweep, "base")[0]]
    _, found = samples(sweep, kept)
    assert found.left_out["tiny", "plain", "reading"] == "seed 1 diverged, and the untuned model has no predictions"
    assert found.left_out["tiny", "base", "reading"] == "seed 0: no predictions"


def _other_examples(table: pa.Table) -> pa.Table:
    return table.set_column(0, "id", pa.array([f"other{n}" for n in range(table.num_rows)]))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_other_examples, "was scored on other examples than most runs"),
        (lambda table: table.slice(0, 10), "the predictions have a mean f1 of"),
        (lambda table: table.slice(0, 0), "no predictions on the test split"),
        (lambda table: table.set_column(0, "id", pa.array(["e"] * EXAMPLES)), "two predictions"),
        (lambda table: table.set_column(3, "f1", pa.array([float("nan")] * EXAMPLES)), "a value of f1 is no number"),
        (lambda table: table.drop_columns(["f1"]), "the predictions do not determine f1"),
        (lambda table: None, "no predictions"),
    ],
)
def test_unusable_predictions_leave_their_row_out_and_the_reason_is_told(sweep: Any, change: Any, reason: str) -> None:
    kept = Kept(sweep)
    (run,) = runs(sweep, "plain", seed=1)
    kept.tables[run] = change(kept.tables[run])
    board = board_of(sweep.recorded(), kept)
    plain = row(board.rows, "plain")
    assert (plain.tasks["reading"].metrics["f1"].ci, plain.average_ci, plain.tie_letters, plain.rank_interval) == (None, None, "", None)
    assert plain.tasks["counting"].metrics["f1"].ci is not None
    assert plain.average is not None
    (note,) = [note for note in board.analysis.notes if note.endswith(": plain on reading with tiny")]
    assert reason in note
    thin = row(board.rows, "thin", 2)
    assert thin.average_ci is not None and thin.tie_letters
    # The row that is left out may stand anywhere.
    assert thin.rank_interval is not None and thin.rank_interval[1] >= 3


def test_the_reason_why_there_is_no_evidence_is_told(sweep: Any) -> None:
    kept = Kept(sweep)
    (run,) = runs(sweep, "plain", seed=1)
    del kept.tables[run]
    kept.missing[run] = "predictions.parquet is damaged"
    board = board_of(sweep.recorded(), kept)
    assert "no interval and no comparison: seed 1: predictions.parquet is damaged: plain on reading with tiny" in board.analysis.notes


def test_metrics_of_all_predictions_are_computed_of_references(sweep: Any) -> None:
    kept = Kept(sweep)
    for run, table in kept.tables.items():
        right = np.arange(EXAMPLES) % 2
        correct = np.asarray(table["f1"]) > 0
        bare = table.drop_columns(["f1", "em", "prediction"])
        bare = bare.append_column("prediction", pa.array(np.where(correct, right, 1 - right)))
        kept.tables[run] = bare.append_column("reference", pa.array(right))
    rows, found = samples(sweep, kept)
    sample = found.of(row(rows, "thin", 2), "reading")["f1"]
    assert sample.values_SN is None
    assert sample.predictions_SN is not None and sample.predictions_SN.shape == (3, EXAMPLES)
    assert sample.references_N is not None and sample.references_N.tolist() == [n % 2 for n in range(EXAMPLES)]


def test_examples_without_a_group_are_their_own(sweep: Any) -> None:
    kept = Kept(sweep)
    for run, table in kept.tables.items():
        kept.tables[run] = table.set_column(1, "group", pa.array([None] * EXAMPLES, pa.string()))
    rows, found = samples(sweep, kept)
    assert found.of(row(rows, "base"), "reading")["f1"].groups_N.tolist() == list(range(EXAMPLES))
