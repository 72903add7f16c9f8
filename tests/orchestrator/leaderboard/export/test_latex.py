"""The printed board: the certificate first, the best in bold, nothing interpreted, nothing too wide."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

from orchestrator.leaderboard.analysis import Analysis, Reference
from orchestrator.leaderboard.board import Board
from orchestrator.leaderboard.export.latex import latex
from orchestrator.leaderboard.render import text
from orchestrator.leaderboard.row import MetricScore


def captions(tex: str) -> list[str]:
    return re.findall(r"\\caption\{(.*)\}\\label", tex)


def line(tex: str, name: str) -> str:
    """A row in all parts of the table."""
    return " | ".join(line for line in tex.splitlines() if f"& {name}" in line)


def test_every_caption_begins_with_the_certificate(board: Board, failing: Callable[[Board], Board]) -> None:
    tex = text(board, "latex")
    assert tex.startswith(f"% {board.verdict()}\n")
    assert captions(tex) and all(caption.startswith("Certificate: holds") for caption in captions(tex))
    tex = latex(failing(board))
    assert tex.startswith("% Certificate: FAILS F3")
    assert all(caption.startswith(r"\textbf{Certificate: FAILS F3 (0 of 1 rules hold).}") for caption in captions(tex))
    assert "no ranking of a fair comparison" in tex


def test_a_row_shows_score_interval_letters_size_and_cost(board: Board) -> None:
    (row,) = [row for row in board.rows if row.capacity == {"rank": 2}]
    found = line(latex(board), "thin (rank=2)")
    ci = row.tasks["reading"].metrics["f1"].ci
    assert ci is not None and row.average_ci is not None
    assert rf"60.0}} & \textsubscript{{[{100 * ci[0]:.1f}, {100 * ci[1]:.1f}]}}" in found
    assert rf"\textsuperscript{{\,{row.tie_letters}}}" in found
    assert "2,003 & 0.5 & 1.5~GB & 3/3" in found


def test_the_best_is_in_bold_and_so_is_what_prints_alike(board: Board) -> None:
    tex = latex(board)
    assert all(line(tex, name).count(r"\textbf{60.0}") == 3 for name in ("thin (rank=2)", "plain"))
    # Its diverged seed counts as the untuned model: 50, 60 and 20.
    assert r"\textbf" not in line(tex, "base") and line(tex, "thin (rank=4)").count(r"\textbf") == 1


def test_what_is_unknown_is_a_dash_and_marks_are_notes(board: Board) -> None:
    tex = latex(board)
    assert re.search(r"^-- & narrow\\textsuperscript\{\d+\} & -- & & -- &", tex, re.MULTILINE)
    assert "not applicable: narrow is defined for narrow models only" in tex
    assert "reading diverged, counted as the untuned model: loss is NaN at step 3 (seed 2, run" in tex.replace(r"\allowbreak{}", "")
    number = re.search(r"thin \(rank=4\)\\textsuperscript\{(\d+)\}", tex)
    assert number and rf"\textsuperscript{{{number[1]}}}~reading diverged" in tex


def test_without_intervals_the_spread_is_shown_and_called_one(board: Board) -> None:
    def bare(score: MetricScore) -> MetricScore:
        return score.model_copy(update={"ci": None})

    rows = []
    for row in board.rows:
        tasks = {n: t.model_copy(update={"metrics": {m: bare(s) for m, s in t.metrics.items()}}) for n, t in row.tasks.items()}
        rows.append(row.model_copy(update={"tasks": tasks, "average_ci": None}))
    tex = latex(replace(board, rows=tuple(rows)))
    assert r"60.0} & \textsubscript{$\pm$\,10.0}" in tex
    assert "confidence interval" not in captions(tex)[0] and "standard deviation over the seeds" in captions(tex)[0]


def test_a_wide_board_is_set_in_parts_each_with_its_certificate(board: Board, wide: Callable[[Board, int], Board]) -> None:
    tex = latex(wide(board, 12))
    heads = captions(tex)
    assert len(heads) > 2 and all("part" in head and head.startswith("Certificate") for head in heads)
    for task in range(12):
        assert tex.count(rf"task{task}\\f1") == 1
    assert tex.count("& thin (rank=2)") == len(heads)
    labels = re.findall(r"\\label\{(.*?)\}", tex)
    assert len(set(labels)) == len(labels)


def test_a_long_board_may_be_broken_over_pages(board: Board) -> None:
    long = replace(board, rows=board.rows * 10)
    assert r"\begin{longtable}" in latex(long) and r"\endfirsthead" in latex(long)
    assert r"\begin{longtable}" not in latex(board)


def test_models_have_tables_of_their_own(board: Board) -> None:
    other = tuple(row.model_copy(update={"model": "other"}) for row in board.rows)
    heads = captions(latex(replace(board, rows=(*board.rows, *other))))
    assert ["with tiny" in head for head in heads] == [True, True, False, False]
    assert ["with other" in head for head in heads] == [False, False, True, True]


def test_published_results_are_shown_apart(board: Board) -> None:
    reference = Reference(method="x_y", model="m", task="t", metric="accuracy", score=0.48, ci=(0.45, 0.51), source="file.json")
    tex = latex(replace(board, analysis=Analysis(references=(reference,))))
    assert r"x\_y & m & t & accuracy & 48.0 & 45.0 to 51.0 & -{} & file.json" in tex.replace(r"\allowbreak{}", "")
    assert "published, not run here" in tex


def test_nothing_in_a_name_is_a_command(hostile: Board) -> None:
    tex = latex(hostile)
    assert r"\input{/etc" not in tex and "\x1b" not in tex and "\u202e" not in tex and tex.isascii()
    assert all(len(found) < 4000 for found in tex.splitlines())
    assert "$x_1$" not in tex and r"\textbackslash{}input" in tex
    # A row is never cut short or prolonged by what stands in it.
    rows = [found for found in tex.splitlines() if found.endswith(r"\\") and "& " in found and "method" not in found]
    count = len(hostile.rows)
    assert rows and len(rows) % count == 0
    for start in range(0, len(rows), count):
        assert len({found.replace(r"\&", "").count("&") for found in rows[start : start + count]}) == 1


def test_a_board_without_rows_says_so(board: Board) -> None:
    tex = latex(replace(board, rows=()))
    assert "has no row" in tex and board.verdict() in tex


def test_floats_and_groups_are_closed(hostile: Board, wide: Callable[[Board, int], Board]) -> None:
    for tex in (latex(hostile), latex(wide(hostile, 9)), latex(replace(hostile, rows=hostile.rows * 9))):
        stack = ["document"]
        for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", tex.partition("\\fi\n")[2]):
            if kind == "begin":
                stack.append(name)
            else:
                assert stack.pop() == name
        assert stack == ["document"]
        assert tex.count(r"\begingroup") == tex.count(r"\endgroup")
