"""Trials that one process is handed at one time, to run them one after another."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from search_spaces.trial import Trial
from trainers.outcomes import OutcomeStore
from trainers.results import Job, Outcome
from trainers.spans import KINDS
from trainers.worker import Worker

Trials = Callable[..., Trial]
Run = Callable[..., Outcome]
NUMBERS = {"status", "metrics", "curves", "best_step", "counts", "usage", "data_digests"}


def test_trials_handed_out_together_end_as_alone(trial_of: Trials, run: Run, worker: Worker, tmp_path: Path) -> None:
    trials = [trial_of(seed=seed, training={"dropout": 0.1}) for seed in range(3)]
    alone = [run(trial).model_dump(include=NUMBERS) for trial in trials]
    with ThreadPoolExecutor(len(trials)) as threads:
        jobs = [Job(trial, "chain", str(tmp_path / "chain")) for trial in trials]
        assert list(threads.map(worker.run, jobs)) == ["finished"] * 3
    store = OutcomeStore(tmp_path / "chain" / "outcomes")
    together = [store.read(trial.id) for trial in trials]
    assert [outcome.model_dump(include=NUMBERS) for outcome in together if outcome is not None] == alone
    # They compute one after another, and no trial is charged for the time in which it waited for the others.
    ran = [outcome for outcome in together if outcome is not None]
    computed = sum(outcome.profile.spans[kind] for outcome in ran for kind in ("load", "swap", "train", "evaluate"))
    assert computed <= max(outcome.ended for outcome in ran) - min(outcome.started for outcome in ran) + 0.1


def test_a_trial_tells_what_its_time_went_to(trial_of: Trials, run: Run) -> None:
    profile = run(trial_of()).profile
    assert set(profile.spans) == set(KINDS) and min(profile.spans.values()) >= 0
    assert sum(profile.spans.values()) == pytest.approx(profile.wall_seconds, abs=1.0)
    assert all(profile.spans[kind] > 0 for kind in ("swap", "train", "evaluate", "store"))
