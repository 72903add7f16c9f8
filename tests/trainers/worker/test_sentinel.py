"""The sentinel: run once for each environment before the first trial, on the worker that trains; it never stands in a sweep's way."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from search_spaces.trial import ModelRef, Trial
from tests.services.worker_group import WorkerGroup
from trainers import sentinel
from trainers.meter import hardware, versions
from trainers.outcomes import OutcomeStore
from trainers.results import SENTINELS, Outcome, SentinelPost, platform_digest
from trainers.worker import Worker

MARKER = "drivers/run.json"
MODEL = ModelRef(id="micro-llama")


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """The folder of a sweep whose driver runs."""
    (tmp_path / "micro" / "drivers").mkdir(parents=True)
    (tmp_path / "micro" / MARKER).touch()
    return tmp_path / "micro"


def prepare(worker: Worker, sweep: Path) -> None:
    worker.prepare(MODEL, [], (), SentinelPost(str(sweep), MARKER))


def store_of(sweep: Path) -> OutcomeStore:
    here = platform_digest({"versions": versions(), "hardware": hardware()})
    return OutcomeStore(sweep / SENTINELS / here / "outcomes")


def outcome_of(sweep: Path) -> Outcome:
    outcome = store_of(sweep).read(sentinel.fixed_trial().id)
    assert outcome is not None
    return outcome


def test_a_fresh_worker_runs_it_once_apart_from_the_trials(worker: Worker, sweep: Path) -> None:
    prepare(worker, sweep)
    outcome = outcome_of(sweep)
    losses = [loss for _, loss in outcome.curves["train/loss"]]
    assert outcome.status == "finished" and len(losses) == 8 and len(set(losses)) > 1
    assert outcome.usage.test_reads == 0
    assert not (sweep / "outcomes").exists() and not (sweep / "checkpoints").exists()
    prepare(Worker(), sweep)
    assert outcome_of(sweep) == outcome


def test_it_gives_the_same_losses_in_another_sweep(worker: Worker, sweep: Path, tmp_path: Path) -> None:
    (tmp_path / "other" / "drivers").mkdir(parents=True)
    (tmp_path / "other" / MARKER).touch()
    prepare(worker, sweep)
    prepare(worker, tmp_path / "other")
    assert outcome_of(sweep).curves == outcome_of(tmp_path / "other").curves


def test_a_trial_gives_the_same_numbers_after_it(
    worker: Worker, sweep: Path, trial_of: Callable[..., Trial], run: Callable[..., Outcome]
) -> None:
    before = run(trial_of())
    fresh = Worker()
    prepare(fresh, sweep)
    after = run(trial_of(), worker=fresh)
    assert (after.metrics, after.curves) == (before.metrics, before.curves)


def test_a_worker_that_does_not_see_the_drivers_file_leaves_it_out(worker: Worker, tmp_path: Path) -> None:
    prepare(worker, tmp_path / "elsewhere")
    assert not (tmp_path / "elsewhere").exists()


def test_one_that_failed_or_was_damaged_runs_again(worker: Worker, sweep: Path) -> None:
    trial, store = sentinel.fixed_trial(), store_of(sweep)
    failed = Outcome(trial_id=trial.id, attempt="a", status="out_of_memory", started=0, ended=1)
    store.commit(trial, failed)
    prepare(worker, sweep)
    assert outcome_of(sweep).status == "finished"
    file = store.folder(trial.id) / "outcome.json"
    file.write_text(json.dumps({"half": True}))
    prepare(worker, sweep)
    assert outcome_of(sweep).status == "finished"
    assert len(list((store.root.parent.local or Path()).glob("set-aside/*"))) == 2


def test_a_storage_that_does_not_take_it_stops_nothing(worker: Worker, sweep: Path) -> None:
    (sweep / SENTINELS).write_text("a file in its place")
    prepare(worker, sweep)
    assert worker.base(MODEL).ref == MODEL


def test_a_group_runs_it_together(sweep: Path) -> None:
    with WorkerGroup(2) as group:
        group.call("prepare", MODEL, [], (), SentinelPost(str(sweep), MARKER))
    outcome = outcome_of(sweep)
    assert outcome.status == "finished" and outcome.environment["execution"]["workers"] == 2
    assert len(outcome.curves["train/loss"]) == 8
