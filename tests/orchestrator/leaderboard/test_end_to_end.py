"""From Outcomes on disk over a real MLflow store to the board."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest

from orchestrator import recorded
from orchestrator.leaderboard.board import board_of
from orchestrator.leaderboard.reading import read_board
from orchestrator.tracking.deliverer import Deliverer
from orchestrator.tracking.delivery import Tracker
from orchestrator.tracking.records import RunReader
from tests.orchestrator.leaderboard.kept import Kept
from trainers.outcomes import OutcomeStore


@pytest.fixture
def delivered(sweep: Any, uri: str, store: OutcomeStore) -> Any:
    for trial in sweep.trials:
        store.commit(trial, sweep.outcomes[trial.id])
    with Deliverer(Tracker(uri, "small", sweep.plan.digest), store) as deliverer:
        deliverer.put_sweep({"plan.json": json.dumps(sweep.plan.document())}, "finished", now=1.0)
    return sweep


def test_the_board_from_mlflow_is_the_board_of_the_outcomes(delivered: Any, uri: str) -> None:
    reader = RunReader(uri)
    board = board_of(recorded.load(reader))
    expected = board_of(delivered.recorded())
    # F13 lists the digest that the made-up runs name, which is another one.
    assert board.certificate.rules[:-1] == expected.certificate.rules[:-1]
    assert board.certificate.ok
    assert [row.model_dump(exclude={"runs"}) for row in board.rows] == [row.model_dump(exclude={"runs"}) for row in expected.rows]
    trials = {reader.run(run).trial_id for run in board.rows[0].runs}
    assert len(trials) == 6
    assert recorded.load(reader, "small", delivered.plan.digest).plan == recorded.load(reader, "small").plan


def test_the_predictions_in_mlflow_become_intervals_and_ties(sweep_of: Any, sweep_text: str, uri: str, store: OutcomeStore) -> None:
    sweep = sweep_of(sweep_text.replace("name: small", "name: believed"))
    kept = Kept(sweep)
    kept.deliver(sweep, "believed", uri, store)
    board, expected = read_board(uri, "believed"), board_of(sweep.recorded(), kept)
    assert [row.model_dump(exclude={"runs"}) for row in board.rows] == [row.model_dump(exclude={"runs"}) for row in expected.rows]
    assert all(row.average_ci and row.tie_letters for row in board.rows if row.rank)
    assert board.analysis.families == expected.analysis.families


def test_the_leaderboard_loads_no_torch(delivered: Any, uri: str) -> None:
    code = """
import sys
from orchestrator import recorded
from orchestrator.leaderboard import board, listing, render
from orchestrator.tracking.records import RunReader
found = recorded.load(RunReader(sys.argv[1]))
assert render.text(board.board_of(found), "md").startswith("Certificate: holds")
assert not {"torch", "transformers", "peft", "deepspeed", "ray"} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code, uri], check=True)
