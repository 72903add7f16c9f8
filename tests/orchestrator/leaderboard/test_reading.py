"""Boards from a real MLflow store: computed once for each state of it, and never a stale one."""

from __future__ import annotations

import json
import logging
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from orchestrator.leaderboard import reading
from orchestrator.leaderboard.board import Board
from orchestrator.leaderboard.reading import board_state, read_board
from orchestrator.tracking.connection import sqlite_file
from orchestrator.tracking.records import RunReader
from search_spaces.errors import TrackingError, UnknownNameError
from tests.orchestrator.leaderboard.conftest import one_task
from tests.orchestrator.leaderboard.kept import Kept
from trainers.outcomes import OutcomeStore


def text_of(name: str) -> str:
    return one_task(name, rates="1.0e-3, 1.0e-2", report="0, 1, 2")


class Delivered:
    """A sweep in MLflow, with the predictions of its report runs."""

    def __init__(self, name: str, sweep: Any, uri: str, store: OutcomeStore) -> None:
        self.name, self.sweep, self.uri = name, sweep, uri
        Kept(sweep).deliver(sweep, name, uri, store)

    def board(self) -> Board:
        return read_board(self.uri, self.name)

    def state(self) -> str:
        return board_state(self.uri, self.name)

    def run_id(self, phase: str = "report", label: str = "thin") -> str:
        """The first run of a label in a phase."""
        trials = {trial.id for trial in self.sweep.find(phase, label)}
        return next(record.run_id for record in RunReader(self.uri).runs(self.name) if record.trial_id in trials)

    def artifact(self, run_id: str, name: str) -> Path:
        return Path(MlflowClient(self.uri).get_run(run_id).info.artifact_uri) / name


@pytest.fixture
def delivered(request: pytest.FixtureRequest, sweep_of: Any, uri: str, store: OutcomeStore) -> Delivered:
    """A sweep that the test may change."""
    name = f"s{abs(hash(request.node.name))}"
    return Delivered(name, sweep_of(text_of(name)), uri, store)


@pytest.fixture(scope="module")
def whole(sweep_of: Any, uri: str, tmp_path_factory: pytest.TempPathFactory) -> Delivered:
    """A sweep that no test changes."""
    return Delivered("whole", sweep_of(text_of("whole")), uri, OutcomeStore(tmp_path_factory.mktemp("outcomes")))


def test_a_board_is_the_same_again_and_without_mlflow(whole: Delivered) -> None:
    board = whole.board()
    assert board.certificate.ok and board.analysis.families
    assert whole.board() == board
    assert read_board(whole.uri, whole.name, board.digest) == board
    code = """
import sys
from orchestrator.leaderboard.reading import read_board
assert read_board(*sys.argv[1:]).certificate.ok
assert not {"mlflow", "sqlalchemy", "scipy", "pyarrow", "torch"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code, whole.uri, whole.name], check=True)


def test_a_board_survives_json_exactly(whole: Delivered) -> None:
    board = whole.board()
    assert Board.from_json(json.loads(json.dumps(board.to_json()))) == board
    assert board.rows[0].average_ci and board.tasks == {"reading": "f1"} and board.axes == ("learning_rate",)


@pytest.mark.parametrize("phase", ["select", "report"])
def test_deleted_and_restored_runs_are_seen(delivered: Delivered, phase: str) -> None:
    whole, run_id, client = delivered.board(), delivered.run_id(phase), MlflowClient(delivered.uri)
    state = delivered.state()
    client.delete_run(run_id)
    assert delivered.state() != state
    assert len(delivered.board().certificate.missing) >= 1
    client.restore_run(run_id)
    assert delivered.board() == whole
    assert delivered.state() == state


def change_tag(client: MlflowClient, run_id: str) -> None:
    client.set_tag(run_id, "fairsweep.point", '{"learning_rate":0.5}')


def change_digest(client: MlflowClient, run_id: str) -> None:
    client.set_tag(run_id, "fairsweep.digest", "f" * 64)


def change_metric(client: MlflowClient, run_id: str) -> None:
    client.log_metric(run_id, "test/f1", 0.99, step=10)


def change_trial(client: MlflowClient, run_id: str) -> None:
    text = client.get_run(run_id).data.tags["fairsweep.trial_json"]
    client.set_tag(run_id, "fairsweep.trial_json", text.replace('"learning_rate":0.01', '"learning_rate":0.02'))


def half_deliver(client: MlflowClient, run_id: str) -> None:
    client.delete_tag(run_id, "fairsweep.delivered")


CHANGES = [change_tag, change_digest, change_metric, change_trial, half_deliver]


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_a_run_that_was_edited_by_hand_is_never_served_stale(delivered: Delivered, change: Callable[[MlflowClient, str], None]) -> None:
    assert delivered.board().certificate.ok
    state = delivered.state()
    change(MlflowClient(delivered.uri), delivered.run_id())
    assert delivered.state() != state
    assert not delivered.board().certificate.ok


def test_a_change_elsewhere_in_the_store_costs_a_look_and_no_computation(whole: Delivered, monkeypatch: pytest.MonkeyPatch) -> None:
    board, state = whole.board(), whole.state()
    client = MlflowClient(whole.uri)
    client.create_run(client.create_experiment(f"beside {whole.name}"))

    def refuse(*_: object) -> None:
        raise AssertionError("the board was computed again")

    monkeypatch.setattr(reading, "_computed", refuse)
    assert whole.state() == state
    assert whole.board() == board


def test_a_change_while_the_runs_are_read_is_not_missed(delivered: Delivered, monkeypatch: pytest.MonkeyPatch) -> None:
    run_id = delivered.run_id()
    pin = RunReader.pin

    def pin_and_delete(reader: RunReader, sweep: str) -> str:
        state = pin(reader, sweep)
        MlflowClient(delivered.uri).delete_run(run_id)
        return state

    with monkeypatch.context() as meanwhile:
        meanwhile.setattr(RunReader, "pin", pin_and_delete)
        assert not delivered.board().certificate.missing
    assert delivered.board().certificate.missing


def test_damaged_predictions_are_told_and_repaired_ones_used(delivered: Delivered) -> None:
    whole, state = delivered.board(), delivered.state()
    file = delivered.artifact(delivered.run_id(), "predictions.parquet")
    content = file.read_bytes()
    file.write_bytes(content[:-20] + b"\0" * 20)
    damaged = delivered.board()
    assert delivered.state() != state
    assert any("predictions.parquet does not match its checksum" in note for note in damaged.analysis.notes)
    assert [row.average for row in damaged.rows] == [row.average for row in whole.rows]
    assert {row.method: row.average_ci is None for row in damaged.rows}["thin"]
    file.unlink()
    assert any("predictions.parquet is missing" in note for note in delivered.board().analysis.notes)
    file.write_bytes(content)
    assert delivered.board() == whole


def test_an_edited_plan_is_read_again(delivered: Delivered) -> None:
    assert delivered.board().tasks == {"reading": "f1"}
    runs = RunReader(delivered.uri).sweep_runs(delivered.name)
    file = delivered.artifact(runs[0].run_id, "plan.json")
    file.write_text(json.dumps({**json.loads(file.read_text()), "main_metrics": {"reading": "em"}}))
    assert delivered.board().tasks == {"reading": "em"}
    file.write_text("{ damaged")
    with pytest.raises(TrackingError, match="plan.json of sweep .* is damaged"):
        delivered.board()


def test_damaged_files_of_the_cache_are_computed_anew(whole: Delivered, cache: Path) -> None:
    board = whole.board()
    for damage in (b"", b"{}", b"not json\n{}", b'{"code": 3}\n{"sweep": 1}', None):
        for file in (cache / "boards").glob("[!.]*"):
            content = file.read_bytes()
            file.write_bytes(content[:-40] + b'"' + content[-39:] if damage is None else damage)
        assert whole.board() == board


def test_a_cache_that_cannot_be_written_costs_nothing_but_time(
    whole: Delivered, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FAIRSWEEP_CACHE", str(tmp_path / "file"))
    with caplog.at_level(logging.WARNING):
        assert whole.board() == whole.board()
    assert "move the cache by FAIRSWEEP_CACHE" in caplog.text


def test_the_cache_is_private_and_leaves_no_drafts(whole: Delivered, cache: Path) -> None:
    whole.board()
    assert oct((cache / "boards").stat().st_mode)[-3:] == "700"
    assert {file.suffix for file in (cache / "boards").iterdir()} == {".board", ".mark", ".lock"}
    assert len(os.listdir(cache / "boards")) == 3


def counted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The sweeps whose boards are computed from now on."""
    computed: list[str] = []
    compute = reading._computed

    def note(reader: Any, now: Any, *more: Any) -> Board:
        computed.append(now.sweep)
        return compute(reader, now, *more)

    monkeypatch.setattr(reading, "_computed", note)
    return computed


def test_other_code_computes_anew(whole: Delivered, monkeypatch: pytest.MonkeyPatch) -> None:
    board, state = whole.board(), whole.state()
    for module in ("orchestrator.leaderboard.stored_boards", "orchestrator.leaderboard.reading"):
        monkeypatch.setattr(f"{module}.code_digest", lambda: "another version")
    assert whole.state() != state
    computed = counted(monkeypatch)
    assert whole.board() == board and computed


def test_many_readers_at_once_get_one_board(whole: Delivered, monkeypatch: pytest.MonkeyPatch) -> None:
    computed = counted(monkeypatch)
    with ThreadPoolExecutor(4) as pool:
        boards = list(pool.map(lambda _: whole.board(), range(4)))
    assert all(board == boards[0] for board in boards)
    assert len(computed) == 1


def test_a_database_in_wal_mode_is_read_afresh(whole: Delivered, tmp_path: Path) -> None:
    copy = tmp_path / "mlflow.db"
    shutil.copyfile(sqlite_file(whole.uri), copy)
    connection = sqlite3.connect(copy)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.close()
    uri = f"sqlite:///{copy}"
    assert not read_board(uri, "whole").certificate.missing
    MlflowClient(uri).delete_run(whole.run_id())
    assert read_board(uri, "whole").certificate.missing


def test_runs_that_are_no_part_of_the_board_are_told(delivered: Delivered) -> None:
    client, board = MlflowClient(delivered.uri), delivered.board()
    experiment = client.get_experiment_by_name(f"fairsweep/{delivered.name}").experiment_id
    foreign = [client.create_run(experiment).info.run_id, client.create_run(experiment, tags={"fairsweep.kind": "trial"}).info.run_id]
    tags = {"fairsweep.kind": "trial", "fairsweep.trial": "<script>", "fairsweep.trial_json": "{", "fairsweep.digest": board.digest}
    done = {"fairsweep.outcome": "x", "fairsweep.delivered": "x"}
    malformed = client.create_run(experiment, tags=tags | done).info.run_id
    half = client.create_run(experiment, tags={**tags, "fairsweep.trial": "other"}).info.run_id
    found = delivered.board()
    assert [row.average for row in found.rows] == [row.average for row in board.rows]
    notes = {note.partition(": ")[0]: note for note in found.analysis.notes}
    assert all(run_id in notes["runs left out, not written by fairsweep"] for run_id in foreign)
    assert malformed in notes["runs left out, changed after their delivery"]
    assert half in notes["runs left out, not delivered completely"]


def test_metrics_that_are_missing_or_no_numbers_leave_a_row_incomplete(delivered: Delivered) -> None:
    client, run_id = MlflowClient(delivered.uri), delivered.run_id()
    client.log_metric(run_id, "test/f1", float("nan"), step=10)
    found = delivered.board()
    row = next(row for row in found.rows if row.method == "thin")
    assert row.average is None and any("incomplete: reading" in mark for mark in row.marks)
    assert next(row for row in found.rows if row.method == "plain").average is not None
    json.dumps(found.to_json(), allow_nan=False)


def test_a_sweep_that_is_not_there_is_told(whole: Delivered) -> None:
    for ask in (read_board, board_state):
        with pytest.raises(UnknownNameError, match="nowhere"):
            ask(whole.uri, "nowhere")
        with pytest.raises(TrackingError, match="holds no sweep yet"):
            ask("sqlite:////tmp/there/is/no/such/file.db")


def test_an_experiment_without_a_plan_is_told(uri: str) -> None:
    MlflowClient(uri).create_experiment("fairsweep/empty")
    with pytest.raises(TrackingError, match="sweep 'empty' .* has no plan yet"):
        read_board(uri, "empty")
