"""Published results on a board: read from MLflow, shown apart, never ranked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from orchestrator.leaderboard import render
from orchestrator.leaderboard.analysis import Reference
from orchestrator.leaderboard.board import board_of
from orchestrator.leaderboard.references import FILE, ReferenceDocument, read_references
from orchestrator.tracking.records import RunReader
from orchestrator.tracking.side_runs import SideRun, SideRuns


def reference(**changes: Any) -> Reference:
    content = {"method": "theirs", "model": "tiny", "task": "reading", "metric": "f1", "score": 0.9, "source": "Doe 2024, Table 1"}
    return Reference.model_validate({**content, **changes})


def shown(board: Any) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(render.table(board))
    return captured.get()


def put(uri: str, sweep: str, text: str, name: str = "csv:table") -> str:
    return SideRuns(uri, sweep).put(SideRun("reference", name, "published", 1.0, 1.0, files={FILE: text}))


def test_references_stand_below_the_board_and_change_no_rank(sweep: Any) -> None:
    plain = board_of(sweep.recorded())
    board = board_of(sweep.recorded(), references=[reference(score=0.99, ci=(0.97, 1.0), trainable=1234, notes=("one run",))])
    assert board.rows == plain.rows and "theirs" not in [row.method for row in board.rows]
    for text in (shown(board), render.markdown(board)):
        below = text.partition("published, not run here")[2]
        assert "theirs" in below and "99.0" in below and "97.0 to 100.0" in below and "1,234" in below and "one run" in below
        assert "theirs" not in text.partition("published, not run here")[0]
    assert board.to_json()["analysis"]["references"][0]["score"] == 0.99
    assert "published, not run here" not in shown(plain) and "published, not run here" not in render.markdown(plain)


def test_a_terminal_shows_the_first_ones_and_markdown_all(sweep: Any) -> None:
    board = board_of(sweep.recorded(), references=[reference(method=f"theirs-{number}") for number in range(30)])
    assert "and 10 more: --format md shows all" in shown(board) and "theirs-29" not in shown(board)
    assert "theirs-29" in render.markdown(board)


def test_hostile_names_are_escaped_in_markdown_and_harmless_on_a_terminal(sweep: Any) -> None:
    board = board_of(sweep.recorded(), references=[reference(method="<script>|x", source="\x1b[31mred\u202e" + "y" * 10_000)])
    assert "&lt;script&gt;\\|x" in render.markdown(board) and "<script>" not in render.markdown(board)
    assert "\x1b[31m" not in shown(board) and "\u202e" not in shown(board) and "y" * 100 not in shown(board)


def test_they_are_read_back_in_order_whatever_they_were_imported_in(uri: str, request: pytest.FixtureRequest) -> None:
    for name, score in (("csv:a", 0.5), ("csv:b", 0.7), ("csv:c", 0.6)):
        document = ReferenceDocument(name=name, references=(reference(method=name, score=score),))
        put(uri, "order", document.model_dump_json(), name)
    found, missing = read_references(RunReader(uri), "order")
    assert [entry.method for entry in found] == ["csv:b", "csv:c", "csv:a"] and not missing


@pytest.mark.parametrize(
    "text",
    [
        "not JSON",
        "[]",
        '{"name": "x", "references": []}',
        '{"name": "x", "references": [{"method": "m"}]}',
        ReferenceDocument(name="x", references=(reference(),)).model_dump_json().replace("0.9", "1e999"),
        ReferenceDocument(name="x", references=(reference(),)).model_dump_json().replace("0.9", "NaN"),
    ],
)
def test_a_damaged_import_is_named_and_the_others_are_shown(uri: str, text: str, tmp_path: Path) -> None:
    sweep = f"damaged-{tmp_path.name.replace('_', '-').lower()}"
    put(uri, sweep, text, "csv:bad")
    put(uri, sweep, ReferenceDocument(name="csv:good", references=(reference(),)).model_dump_json(), "csv:good")
    found, missing = read_references(RunReader(uri), sweep)
    assert [entry.method for entry in found] == ["theirs"]
    assert len(missing) == 1 and "'csv:bad'" in missing[0] and "Fix: import them again" in missing[0]


def test_a_run_that_was_not_written_to_its_end_is_not_read(uri: str, client: Any) -> None:
    document = ReferenceDocument(name="csv:half", references=(reference(),))
    run_id = put(uri, "half", document.model_dump_json(), "csv:half")
    client.delete_tag(run_id, "fairsweep.delivered")
    assert read_references(RunReader(uri), "half") == ((), ())
    again = put(uri, "half", document.model_dump_json(), "csv:half")
    assert again != run_id and len(RunReader(uri).side_runs("half", "reference")) == 1


def test_no_reference_is_taken_for_a_trial(uri: str, sweep_of: Callable[..., Any]) -> None:
    put(uri, "small", ReferenceDocument(name="x", references=(reference(),)).model_dump_json())
    assert RunReader(uri).runs("small") == []
