"""The bar of where a run's time went, on terminals of all kinds."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from orchestrator.sweep.timeline import PARTS
from orchestrator.time_bar import STYLES, WIDEST, TimeBar

SECONDS = {
    "train": 120.0,
    "evaluate": 20.0,
    "swap": 3.3,
    "load": 2.0,
    "store": 1.2,
    "wait": 0.01,
    "start": 30.0,
    "idle": 5.0,
    "finish": 9.0,
}


def shown(width: int, encoding: str = "utf-8", **options: bool) -> list[str]:
    stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    Console(file=stream, width=width, **options).print(TimeBar(SECONDS))
    stream.flush()
    return stream.buffer.getvalue().decode(encoding).splitlines()  # type: ignore[attr-defined]


def test_every_part_has_characters_of_its_own() -> None:
    assert set(STYLES) == set(PARTS)
    for column in (0, 1):
        assert len({marks[column] for marks in STYLES.values()}) == len(STYLES)


@pytest.mark.parametrize("width", [28, 60, 200])
def test_the_bar_fills_the_line_and_no_entry_is_broken(width: int) -> None:
    bar, *legend = shown(width)
    assert len(bar) == min(width, WIDEST) and all(len(line) <= width for line in legend)
    entries = [entry for line in legend for entry in line.split("  ")]
    assert entries[0] == "█ train 63.0%" and "▓ evaluate 10.5%" in entries
    assert not any("wait" in entry for entry in entries), "what rounds to nothing is left out"
    assert bar.count("█") == pytest.approx(0.63 * len(bar), abs=1)


def test_it_is_readable_where_only_ascii_is() -> None:
    bar, *legend = shown(60, "ascii")
    assert bar.count("#") == pytest.approx(0.63 * 60, abs=1) and "# train 63.0%" in legend[0]


def test_without_colour_no_escape_sequence_is_written() -> None:
    assert not any("\x1b" in line for line in shown(60, no_color=True))
    assert any("\x1b" in line for line in shown(60, force_terminal=True))


def test_nothing_is_shown_of_a_run_that_did_nothing() -> None:
    stream = io.StringIO()
    Console(file=stream).print(TimeBar({}))
    assert not stream.getvalue().strip()
