"""What a sweep file records of extended axes, and of accepted edges."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from search_spaces.loading import dump_spec, load_spec

FaultsOf = Callable[..., dict[str, str]]


def test_extensions_are_read_back_as_written(sweep_file: Path, tmp_path: Path) -> None:
    spec = load_spec(sweep_file, ["search.extended={learning_rate: {high: 2}}", "search.accept_edge=true"])
    again = tmp_path / "again.yaml"
    again.write_text(dump_spec(spec))
    assert load_spec(again) == spec
    assert spec.search.extended["learning_rate"].model_dump() == {"low": 0, "high": 2} and spec.search.accept_edge


def test_an_end_cannot_be_extended_three_times(faults_of: FaultsOf) -> None:
    assert "less than or equal to 2" in faults_of("search.extended={learning_rate: {high: 3}}")["search.extended.learning_rate.high"]


def test_an_axis_that_the_grid_lacks_cannot_have_been_extended(faults_of: FaultsOf) -> None:
    assert "the grid has no axis 'dropout'" in faults_of("search.extended={dropout: {low: 1}}")["search.extended.dropout"]
