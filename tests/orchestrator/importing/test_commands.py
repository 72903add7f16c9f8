"""`fairsweep import` as a user types it, on a real MLflow store."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from orchestrator.cli import cli
from orchestrator.leaderboard.references import read_references
from orchestrator.tracking.connection import connect
from orchestrator.tracking.delivery import Tracker
from orchestrator.tracking.records import RunReader
from search_spaces.errors import TrackingError

Write = Callable[..., Path]
Import = Callable[..., Any]
HEADER = "method,model,task,metric,score,unit"
HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def imported(uri: str) -> Import:
    """Runs `fairsweep import` with a tracking store of the module, and returns click's result."""
    return lambda *arguments: CliRunner().invoke(cli, ["import", *map(str, arguments), "--tracking-uri", uri], prog_name="fairsweep")


def test_results_come_to_the_experiment_of_a_sweep_that_has_not_run(imported: Import, result_file: Write, uri: str) -> None:
    done = imported("peft-results", result_file(), "--sweep", "new", "--json")
    assert done.exit_code == 0, done.stderr
    document = json.loads(done.stdout)
    assert (document["references"], document["left_out"]) == (1, {})
    reader = RunReader(uri)
    ((found,), _) = read_references(reader, "new")
    assert found.method == "lora/small-rank8" and found.ci is not None
    assert reader.runs("new") == [] and reader.sweep_runs("new") == []
    with pytest.raises(TrackingError, match="no plan yet"):
        reader.sweep_document("new")


def test_importing_again_replaces_and_the_same_again_changes_nothing(imported: Import, table_file: Write, uri: str) -> None:
    def runs() -> list[str]:
        return [record.run_id for record in RunReader(uri).side_runs("again", "reference")]

    file = table_file(HEADER, "lora,m,t,accuracy,40,percent")
    assert imported("csv", file, "--sweep", "again").exit_code == 0
    first = runs()
    assert imported("csv", file, "--sweep", "again").exit_code == 0
    assert runs() == first and len(first) == 1
    table_file(HEADER, "lora,m,t,accuracy,41,percent")
    assert imported("csv", file, "--sweep", "again").exit_code == 0
    assert runs() != first and [reference.score for reference in read_references(RunReader(uri), "again")[0]] == [0.41]
    assert imported("csv", file, "--sweep", "again", "--name", "other").exit_code == 0
    assert len(runs()) == 2


def test_an_import_is_no_trial_for_the_delivery(imported: Import, table_file: Write, uri: str) -> None:
    assert imported("csv", table_file(HEADER, "lora,m,t,accuracy,40,percent"), "--sweep", "apart").exit_code == 0
    tracker = Tracker(uri, "apart", "d")
    assert tracker.reconcile() == {} and tracker.known_trials() == set()
    assert len(read_references(RunReader(uri), "apart")[0]) == 1


def test_bad_input_is_told_and_leaves_nothing(imported: Import, table_file: Write, tmp_path: Path, uri: str) -> None:
    file = table_file(HEADER, "lora,m,t,accuracy,40,parts")
    for arguments, words in (
        (("csv", file, "--sweep", "none"), "line 2, column unit"),
        (("csv", tmp_path / "nowhere.csv", "--sweep", "none"), "there is no such file"),
        (("csv", file, "--sweep", "../etc"), "is not a sweep's name"),
        (("peft-results", tmp_path / "nowhere", "--sweep", "none"), "there is no such folder"),
        (("csv", file), "--sweep"),
    ):
        done = imported(*arguments)
        assert done.exit_code == 2 and words in done.stderr and not done.stdout and "Traceback" not in done.stderr
    connect(uri)
    assert "none" not in RunReader(uri).sweeps()


def test_hostile_names_are_kept_as_text_and_reach_the_terminal_without_control_codes(imported: Import, table_file: Write, uri: str) -> None:
    file = table_file(HEADER, f'"{HOSTILE}",\x1b[31mred,\u202etxt,accuracy,40,percent', name=f"{'x' * 200}.csv")
    done = imported("csv", file, "--sweep", "hostile", "--name", "'; DROP TABLE runs; --\x1b[0m")
    assert done.exit_code == 0 and "\x1b" not in done.stdout
    ((found,), _) = read_references(RunReader(uri), "hostile")
    assert (found.method, found.model, found.task) == (HOSTILE, "\x1b[31mred", "\u202etxt")
    assert imported("csv", file, "--sweep", "hostile", "--name", "'; DROP TABLE runs; --\x1b[0m").exit_code == 0
    assert len(RunReader(uri).side_runs("hostile", "reference")) == 1
