"""The sentinel of a real sweep: it runs on the fleet, is recorded once, is no trial, and tells when an environment changes."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from orchestrator import sentinel
from orchestrator.leaderboard.reading import read_board
from orchestrator.tracking.records import RunReader
from trainers.outcomes import OutcomeStore
from trainers.results import SENTINELS, Outcome, platform_digest
from trainers.storage import Storage


@pytest.fixture
def copied(undisturbed: tuple[Any, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the undisturbed sweep's tracking store and storage, to change."""
    shutil.copytree(undisturbed[0].folder / "fairsweep", tmp_path / "fairsweep")
    monkeypatch.setenv("FAIRSWEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "fairsweep"


def uri_of(folder: Path) -> str:
    return f"sqlite:///{folder}/mlflow.db"


def stored(folder: Path) -> tuple[OutcomeStore, Outcome]:
    """The one sentinel in the sweep's storage."""
    (place,) = (folder / "sweeps" / "micro" / SENTINELS).iterdir()
    store = OutcomeStore(place / "outcomes")
    (trial_id,) = store.ids()
    outcome = store.read(trial_id)
    assert outcome is not None
    return store, outcome


def test_a_sweep_records_it_once_and_counts_it_nowhere(copied: Path) -> None:
    reader = RunReader(uri_of(copied))
    (record,) = reader.side_runs("micro", "sentinel")
    _, outcome = stored(copied)
    assert json.loads(record.tags[sentinel.LOSSES]) == [loss for _, loss in outcome.curves["train/loss"]]
    assert len(reader.runs("micro")) == 9
    trained = next(record for record in reader.runs("micro")).outcome.environment
    assert platform_digest(outcome.environment) == platform_digest(trained)
    sentinel.deliver(uri_of(copied), "micro", Storage.at(copied / "sweeps" / "micro"))
    assert [found.run_id for found in RunReader(uri_of(copied)).side_runs("micro", "sentinel")] == [record.run_id]
    board = read_board(uri_of(copied), "micro")
    assert board.certificate.ok and len(board.rows) == 3
    assert [entry.deviation for entry in board.analysis.drift] == [0.0]


def test_another_environment_comes_to_the_board_with_its_deviation(copied: Path) -> None:
    before = read_board(uri_of(copied), "micro")
    store, outcome = stored(copied)
    versions = {**outcome.environment["versions"], "torch": "99.0.0"}
    faked = outcome.model_copy(
        update={
            "environment": {**outcome.environment, "versions": versions},
            "curves": {"train/loss": [(step, loss + 1e-4 * (step == 8)) for step, loss in outcome.curves["train/loss"]]},
            "started": outcome.started + 1000,
            "ended": outcome.ended + 1000,
        }
    )
    folder = Storage.at(copied / "sweeps" / "micro")
    OutcomeStore(folder / SENTINELS / platform_digest(faked.environment) / "outcomes").commit(store.trial(outcome.trial_id), faked)
    sentinel.deliver(uri_of(copied), "micro", folder)
    board = read_board(uri_of(copied), "micro")
    first, second = board.analysis.drift
    assert first.deviation == 0.0 and second.deviation == pytest.approx(1e-4, rel=1e-3)
    assert second.changes == (f"torch {outcome.environment['versions']['torch']} -> 99.0.0",)
    assert [row.model_dump() for row in board.rows] == [row.model_dump() for row in before.rows]


def test_clean_leaves_it(copied: Path, undisturbed: tuple[Any, dict[str, Any]]) -> None:
    done = undisturbed[0].run("clean", "micro", "--storage", str(copied / "sweeps"))
    assert done.returncode == 0, done.stderr
    assert stored(copied)[1].status == "finished"
