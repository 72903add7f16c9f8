"""The key `packing` of a sweep file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from search_spaces.loading import dump_spec, load_spec
from search_spaces.packing import width_of


@pytest.mark.parametrize(
    ("written", "read", "width"),
    [("", "off", 1), ("off", "off", 1), ("false", "off", 1), ("auto", "auto", None), ("1", 1, 1), ("8", 8, 8)],
)
def test_packing_is_read_and_written_alike(sweep_file: Path, written: str, read: str | int, width: int | None) -> None:
    spec = load_spec(sweep_file, [f"packing={written}"] if written else [])
    assert spec.packing == read and width_of(spec.packing) == width
    sweep_file.write_text(dump_spec(spec))
    assert load_spec(sweep_file) == spec


@pytest.mark.parametrize("written", ["0", "-1", "65", "true", "1.5", "many", "[2]"])
def test_what_is_no_width_is_refused_with_what_is(faults_of: Callable[..., dict[str, str]], written: str) -> None:
    assert "Valid: auto, off, or a number of trials from 1 to 64" in faults_of(f"packing={written}")["packing"]


def test_trials_with_several_processes_cannot_share_one(faults_of: Callable[..., dict[str, str]], sweep_file: Path) -> None:
    assert "resources.workers" in faults_of("packing=4", "resources.workers=2")["packing"]
    assert "zero_stage" in faults_of("packing=4", "deepspeed.zero_stage=2")["packing"]
    assert load_spec(sweep_file, ["packing=auto", "resources.workers=2"]).packing == "auto"
