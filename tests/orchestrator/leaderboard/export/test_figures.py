"""Figures: what they show, in the same bytes every time, and without a trace of when and where."""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.leaderboard.analysis import Analysis, Grid, GridPoint
from orchestrator.leaderboard.board import Board
from orchestrator.leaderboard.export.figures.files import figures_of, write_figures
from orchestrator.leaderboard.export.figures.heat import matrix_of
from orchestrator.leaderboard.export.figures.labels import drawable, short
from orchestrator.leaderboard.export.figures.style import Drawing
from search_spaces.errors import StorageError

DRAW = """
import hashlib, json, sys
from orchestrator.leaderboard.board import Board
from orchestrator.leaderboard.export.figures.files import figures_of
board = Board.from_json(json.load(open(sys.argv[1])))
for drawing in figures_of(board)[::2]:
    print(drawing.name, *(hashlib.sha256(content).hexdigest() for content in drawing.render("svg", "pdf")))
"""


def svg(drawing: Drawing) -> str:
    (content,) = drawing.render("svg")
    return content.decode()


def texts(drawing: Drawing) -> list[str]:
    """What stands in a figure: matplotlib notes beside each text's outlines what they say."""
    return [re.sub(r"\s+", " ", found.strip()) for found in re.findall(r"<!--(.*?)-->", svg(drawing), re.DOTALL)]


@pytest.fixture
def drawings(board: Board) -> dict[str, Drawing]:
    return {drawing.name: drawing for drawing in figures_of(board)}


def test_a_board_has_figures_of_all_kinds(drawings: dict[str, Drawing]) -> None:
    assert list(drawings) == ["pareto-1-tiny", "costs-1-tiny", "ladders-1-tiny", "tuning-1-tiny", "grid-1-tiny-1", "grid-1-tiny-2"]
    assert {"thin", "plain", "untuned", "trainable parameters", "average test score %"} <= set(texts(drawings["pareto-1-tiny"]))
    assert "plain" not in texts(drawings["ladders-1-tiny"])
    assert {"thin (rank=2)", "thin (rank=4)", "plain", "0.001", "0.01"} <= set(texts(drawings["grid-1-tiny-1"]))
    assert {"1.0", "10.0"} <= set(texts(drawings["grid-1-tiny-1"]))


def test_every_figure_says_when_the_certificate_fails(board: Board, failing: Callable[[Board], Board]) -> None:
    for drawing in figures_of(failing(board))[::2]:
        content = svg(drawing)
        assert "Certificate: FAILS F3" in content and "#b00020" in content, drawing.name


def test_the_same_board_gives_the_same_bytes_in_every_process(board: Board, tmp_path: Path) -> None:
    path = tmp_path / "board.json"
    path.write_text(json.dumps(board.to_json()))
    drawings = figures_of(board)[::2]
    here = [" ".join([d.name, *(hashlib.sha256(content).hexdigest() for content in d.render("svg", "pdf"))]) for d in drawings]
    (tmp_path / "matplotlibrc").write_text("font.size: 20\nsvg.fonttype: none\naxes.facecolor: red\n")
    environment = {**os.environ, "PYTHONHASHSEED": "7", "MATPLOTLIBRC": str(tmp_path), "TZ": "Asia/Tokyo"}
    there = subprocess.run([sys.executable, "-c", DRAW, str(path)], env=environment, capture_output=True, text=True, check=True)
    assert there.stdout.split("\n")[:-1] == here


def test_files_hold_their_fonts_and_neither_date_nor_place(drawings: dict[str, Drawing]) -> None:
    drawing = drawings["pareto-1-tiny"]
    image, pdf = drawing.render("svg", "pdf")
    assert b"<text" not in image and b"dc:date" not in image
    assert b"/FontFile2" in pdf and b"/Type3" not in pdf
    for content in (image, pdf):
        assert b"CreationDate" not in content and os.getcwd().encode() not in content and b"/usr/" not in content


def test_hostile_names_are_drawn_and_nothing_else(hostile: Board) -> None:
    for drawing in figures_of(hostile)[::2]:
        content = svg(drawing)
        ET.fromstring(content)
        assert "<script" not in content and len(content) < 2_000_000


def test_a_model_cannot_name_a_file_elsewhere(board: Board) -> None:
    rows = tuple(row.model_copy(update={"model": "../../etc/../Ünder $x$"}) for row in board.rows)
    assert next(drawing.name for drawing in figures_of(replace(board, rows=rows))) == "pareto-1-nder-x"


def test_a_character_that_the_font_lacks_is_written_as_its_code() -> None:
    assert drawable("α лора 中$x$") == "α лора U+4E2D$x$"
    assert drawable("a\x1b[2J\u202eb") == "a [2J b"
    assert len(drawable("x" * 10_000)) < 50


@pytest.mark.parametrize(("value", "text"), [(276_480, "276k"), (999.9, "1k"), (1_500_000_000, "1.5G"), (0.05, "0.05"), (7, "7")])
def test_numbers_on_axes_are_short(value: float, text: str) -> None:
    assert short(value) == text


def test_a_grid_of_several_axes_shows_the_best_over_the_others() -> None:
    scores = {(0.1, 1, "a"): 0.5, (0.1, 1, "b"): 0.7, (0.1, 2, "a"): None, (0.1, 2, "b"): None, (0.2, 1, "a"): 0.2}
    points = tuple(
        GridPoint(point={"scale": s, "learning_rate": lr, "kind": k}, score=score, statuses=("finished" if score else "diverged",))
        for (lr, s, k), score in scores.items()
    )
    axes = {"kind": ("a", "b"), "learning_rate": (0.1, 0.2), "scale": (1, 2)}
    grid = Grid(model="m", task="t", row="r", axes=axes, points=points, selected={"scale": 1, "learning_rate": 0.1, "kind": "b"})
    matrix = matrix_of(grid)
    assert (matrix.across, matrix.down, matrix.over) == ("learning_rate", "kind", ("scale",))
    assert [[cell.score for cell in line] for line in matrix.cells] == [[0.5, 0.2], [0.7, None]]
    assert [[cell.selected for cell in line] for line in matrix.cells] == [[False, False], [True, False]]
    assert matrix.cells[1][1].failed == "missing"


def test_a_poor_board_has_fewer_figures_and_no_fault(board: Board) -> None:
    bare = tuple(row.model_copy(update={"average": None, "tasks": {}, "trainable": None}) for row in board.rows)
    assert [d.name for d in figures_of(replace(board, rows=bare)) if d.name.startswith(("pareto", "ladders"))] == []
    assert figures_of(replace(board, rows=())) == ()
    base = tuple(row for row in board.rows if row.method == "base")
    for drawing in figures_of(replace(board, rows=base)):
        assert svg(drawing)


def test_figures_replace_those_before_and_leave_other_files(board: Board, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "figures"
    few = replace(
        board, rows=tuple(row.model_copy(update={"average": None}) for row in board.rows), analysis=Analysis(grids=board.analysis.grids[:1])
    )
    first = write_figures(few, folder)
    (folder / "mine.txt").write_text("mine")
    first[0].write_text("old")
    assert write_figures(few, folder) == first
    assert first[0].read_text().startswith("<?xml") and {p.name for p in folder.iterdir()} == {*(p.name for p in first), "mine.txt"}
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        write_figures(few, tmp_path / "file")
