"""The board in its text formats: what a reader sees, and that names and errors are shown and never interpreted."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from orchestrator.leaderboard.board import Board, board_of
from orchestrator.leaderboard.listing import lines_of, listing, run_json, run_view
from orchestrator.leaderboard.render import table, text
from search_spaces.errors import UnknownNameError
from tests.orchestrator.leaderboard.kept import Kept

HOSTILE = "=cmd()|[red]x[/red]\x1b[31m<b>\nnext"


def shown(renderable: Any, width: int = 240) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=False)
    console.print(renderable)
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


def hostile(board: Board) -> Board:
    first = board.rows[0].model_copy(update={"method": HOSTILE, "marks": (HOSTILE,)})
    return replace(board, rows=(first, *board.rows[1:]))


@pytest.fixture
def board(sweep: Any) -> Board:
    sweep.change(sweep.find("report", "thin", rank=4, seed=2), status="diverged", error="loss is NaN at step 3")
    return board_of(sweep.recorded())


def test_every_text_begins_with_the_certificate(board: Board) -> None:
    line = "Certificate: holds (13 of 13 rules)"
    assert shown(table(board)).splitlines()[0].rstrip() == line
    assert text(board, "md").splitlines()[0] == line
    assert text(board, "csv").splitlines()[0] == f"# {line}"


def test_the_table_shows_percentages_with_their_spread(board: Board) -> None:
    output = shown(table(board))
    (line,) = [line for line in output.splitlines() if "thin (rank=2)" in line]
    for piece in ("60.0 ± 10.0", "2,003", "0.5", "1.5 GB", "0.01", "3/3"):
        assert piece in line
    (diverged,) = [line for line in output.splitlines() if "thin (rank=4)" in line and "│" in line]
    assert "2/3" in diverged
    assert "reading seed 2 diverged, counted as the untuned model: loss is NaN at step 3" in output


def test_markdown_is_a_table_of_equal_columns(board: Board) -> None:
    lines = [line for line in text(board, "md").splitlines() if line.startswith("|")]
    assert len({line.count("|") for line in lines}) == 1
    assert len(lines) == 2 + len(board.rows)


def test_csv_is_read_back_as_numbers(board: Board) -> None:
    rows = list(csv.DictReader(text(board, "csv").splitlines()[1:]))
    (thin,) = [row for row in rows if row["method"] == "thin" and row["capacity"] == "rank=2"]
    assert float(thin["reading f1 mean %"]) == pytest.approx(60.0)
    assert float(thin["reading f1 std %"]) == pytest.approx(10.0)
    assert (thin["trainable"], thin["selected"], thin["finished"], thin["seeds"]) == ("2003", "0.01", "6", "6")
    assert [row["average %"] for row in rows if row["method"] == "narrow"] == [""]


def test_json_is_the_board(board: Board) -> None:
    assert json.loads(text(board, "json")) == board.to_json()


def test_the_terminal_shows_markup_and_obeys_no_control_character(board: Board) -> None:
    output = shown(table(hostile(board)))
    assert "[red]x[/red]" in output
    assert "\x1b" not in output


def test_markdown_keeps_hostile_names_in_their_cell(board: Board) -> None:
    output = text(hostile(board), "md")
    line = next(line for line in output.splitlines() if "cmd()" in line)
    assert line.replace("\\|", "").count("|") == output.splitlines()[2].count("|")
    assert "<b>" not in output


def test_csv_holds_no_formula(board: Board) -> None:
    rows = list(csv.reader(io.StringIO(text(hostile(board), "csv").split("\n", 1)[1])))
    assert any(cell.startswith("'=cmd()") for row in rows for cell in row)
    assert not any(cell.startswith(("=", "+", "@")) for row in rows for cell in row)
    assert len({len(row) for row in rows}) == 1


def test_an_unknown_format_names_the_valid_ones(board: Board) -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'json'"):
        text(board, "jsn")


def test_runs_lists_what_ran_and_what_is_missing(sweep: Any) -> None:
    (trial,) = sweep.find("report", "plain", seed=1)
    del sweep.outcomes[trial.id]
    sweep.change(sweep.find("select", "plain", learning_rate=0.001), status="error", error="[bold]boom[/bold]")
    lines = lines_of(sweep.recorded())
    assert len(lines) == len(sweep.trials)
    assert {line.status for line in lines} == {"finished", "error", "missing"}
    (missing,) = [line for line in lines if line.status == "missing"]
    assert (missing.trial, missing.run_id, missing.phase, missing.seed) == (trial.id, None, "report", 1)
    assert [line.score for line in lines if line.trial == sweep.find("report", "plain", seed=2)[0].id] == [0.7]
    assert [line.phase for line in lines] == sorted((line.phase for line in lines), reverse=True)
    assert "[bold]boom[/bold]" in shown(listing(lines))


def test_show_gives_a_run_in_full(sweep: Any) -> None:
    record = next(r for r in sweep.records() if r.trial_id == sweep.find("report", "thin", rank=2, seed=1)[0].id)
    document = run_json(record)
    assert json.loads(json.dumps(document))["outcome"]["metrics"]["test/f1"] == 0.6
    assert document["trial"]["method"]["capacity"] == {"rank": 2}
    assert "thin rank=2 learning_rate=0.01 scale=1.0 seed 1 (report)" in shown(run_view(record))


@pytest.fixture
def believed(sweep_of: Any, sweep_text: str) -> Board:
    """A board of one task with intervals, ties and rank intervals."""
    sweep = sweep_of(sweep_text.replace("[reading, counting]", "[reading]"))
    return board_of(sweep.recorded(), Kept(sweep))


def test_the_table_shows_intervals_ties_and_rank_intervals(believed: Board) -> None:
    output = shown(table(believed))
    (line,) = [line for line in output.splitlines() if "thin (rank=2)" in line and "│" in line]
    thin = next(row for row in believed.rows if row.capacity == {"rank": 2})
    low, high = thin.tasks["reading"].metrics["f1"].ci or (0, 0)
    assert f"60.0 [{100 * low:.1f}, {100 * high:.1f}]" in line
    assert f"1 [{thin.rank_interval[0]}, {thin.rank_interval[1]}]" in line  # type: ignore[index]
    assert f"│ {thin.tie_letters}" in line or f" {thin.tie_letters} │" in line
    assert "±" not in output
    assert "95% confidence interval" in output and "conditional on the selected grid point" in output
    assert "rows that share a letter are not told apart" in output


def test_a_table_of_one_task_fits_a_terminal(believed: Board) -> None:
    output = shown(table(believed), width=120)
    assert output.count("┏") == 1
    assert sum("│" in line for line in output.splitlines()) == len(believed.rows), "no cell is folded"


def test_a_table_too_wide_for_a_terminal_is_continued_with_the_methods_names(sweep: Any) -> None:
    board = board_of(sweep.recorded(), Kept(sweep))
    output = shown(table(board), width=120)
    assert output.count("┏") == 2
    lines = [line for line in output.splitlines() if "│" in line]
    assert len(lines) == 2 * len(board.rows)
    first, second = (
        next(line for line in part if "thin (rank=4)" in line) for part in (lines[: len(board.rows)], lines[len(board.rows) :])
    )
    assert "4,003" in second and "4,003" not in first
    assert shown(table(board), width=240).count("┏") == 1


def test_a_name_of_ten_thousand_characters_is_cut(board: Board) -> None:
    first = board.rows[0].model_copy(update={"method": "x" * 10_000, "marks": ()})
    output = shown(table(replace(board, rows=(first,))), width=120)
    assert "xxx" in output and output.count("x") < 1_000


def test_intervals_stand_in_markdown_and_csv(believed: Board) -> None:
    markdown, lines = text(believed, "md"), text(believed, "csv").splitlines()
    thin = next(row for row in believed.rows if row.capacity == {"rank": 2})
    low, high = thin.average_ci or (0, 0)
    assert f"60.0 \\[{100 * low:.1f}, {100 * high:.1f}\\]" in markdown
    assert "conditional on the selected grid point" in markdown and "conditional on the selected grid point" in lines[0]
    (cells,) = [row for row in csv.DictReader(lines[1:]) if row["capacity"] == "rank=2"]
    assert float(cells["reading f1 ci low %"]) == pytest.approx(100 * low)
    assert float(cells["average ci high %"]) == pytest.approx(100 * high)
    assert (cells["ties"], cells["rank low"], cells["rank high"]) == (thin.tie_letters, *map(str, thin.rank_interval or ()))


def test_without_intervals_the_spread_is_shown_and_named(board: Board) -> None:
    assert "60.0 ± 10.0" in text(board, "md")
    assert "±: sample standard deviation over the report seeds" in text(board, "md")
    assert "95% confidence interval" not in text(board, "csv")


def test_a_failed_certificate_stays_the_first_line(sweep: Any) -> None:
    for trial in sweep.find("report", "plain", seed=1):
        sweep.outcomes[trial.id].data_digests["test"] = "other rows"
    board = board_of(sweep.recorded(), Kept(sweep))
    line = "Certificate: FAILS F3"
    assert shown(table(board)).startswith(line)
    assert text(board, "md").startswith(line)
    assert text(board, "csv").startswith(f"# {line}")
