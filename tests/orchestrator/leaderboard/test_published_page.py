"""The page as an artifact of the sweep's run, put there at the end of `run`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from orchestrator.report import PAGE, RunReport
from orchestrator.sweep.runner import RunResult, sweep_documents
from orchestrator.tracking.deliverer import Deliverer
from orchestrator.tracking.delivery import Tracker
from orchestrator.tracking.records import RunReader
from trainers.outcomes import OutcomeStore


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAIRSWEEP_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def delivered(sweep: Any, uri: str, store: OutcomeStore) -> Any:
    for trial in sweep.trials:
        store.commit(trial, sweep.outcomes[trial.id])
    with Deliverer(Tracker(uri, "small", sweep.plan.digest), store) as deliverer:
        deliverer.put_sweep(sweep_documents(sweep.plan), "finished", now=1.0)
    return sweep


def test_the_page_shows_the_rows_of_the_runs(delivered: Any, uri: str) -> None:
    report = RunReport(delivered.plan, RunResult(), uri)
    assert report.publish() is None
    page = RunReader(uri).sweep_artifact("small", PAGE)
    assert page.startswith("<!DOCTYPE html>") and '"sweep":"small"' in page
    assert report.board is not None
    assert all(run_id in page for row in report.board.rows for run_id in row.runs)
    # Once more, as a run that continues does it.
    assert report.publish() is None


def test_a_page_that_cannot_be_put_there_is_told_and_is_no_error(delivered: Any, uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(document: Any, *, live: bool = False) -> str:
        raise ValueError("no template")

    monkeypatch.setattr("orchestrator.leaderboard.page.html", broken)
    problem = RunReport(delivered.plan, RunResult(), uri).publish()
    assert problem is not None and "no template" in problem and "Fix: `fairsweep leaderboard small --format html`" in problem


def test_a_sweep_without_a_run_in_mlflow_gets_no_page(sweep: Any, uri: str) -> None:
    problem = RunReport(sweep.plan, RunResult(), f"{uri}-elsewhere").publish()
    assert problem is not None and "could not be put into MLflow" in problem


def test_results_that_are_not_delivered_yet_make_no_page(delivered: Any, uri: str) -> None:
    assert RunReport(delivered.plan, RunResult(undelivered=("trial",)), uri).publish() is None
