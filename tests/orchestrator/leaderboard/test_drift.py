"""Drift: what the sentinels of a sweep say of the environments that its trials ran in."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from orchestrator import sentinel
from orchestrator.leaderboard import drift, render
from orchestrator.leaderboard.board import board_of
from orchestrator.leaderboard.drift import drift_of
from orchestrator.tracking.delivery import Tracker
from orchestrator.tracking.records import RunReader
from trainers.outcomes import OutcomeStore
from trainers.results import SENTINELS, platform_digest
from trainers.storage import Storage

OLD: dict[str, Any] = {
    "versions": {"python": "3.11.7", "torch": "2.12.0", "numpy": "2.4.0"},
    "hardware": {"machine": "x86_64", "processor": "one", "accelerator": None},
    "execution": {"threads": 1, "workers": 1},
}
LOSSES = (3.0, 2.5, 2.25)


def environment(**changes: Any) -> dict[str, Any]:
    """OLD, with changes given as `torch="2.13.0"` or `processor="two"`."""
    made = copy.deepcopy(OLD)
    for name, value in changes.items():
        part = next(part for part in made.values() if name in part)
        part[name] = value
    return made


@pytest.fixture
def stand(tmp_path: Path, uri: str, trial_of: Callable[..., Any], outcome_of: Callable[..., Any]) -> Callable[..., None]:
    """Puts a sentinel of an environment with some losses into a sweep's folder, and delivers all that is there."""
    folder = Storage.at(tmp_path / "sweep")

    def put(where: Mapping[str, Any], losses: tuple[float, ...], started: float, *, name: str = "small", **trial: Any) -> None:
        made = trial_of(**trial)
        curves = {"train/loss": list(enumerate(losses, start=1))}
        outcome = outcome_of(made, environment=dict(where), curves=curves, started=started, ended=started + 1)
        OutcomeStore(folder / SENTINELS / platform_digest(where) / "outcomes").commit(made, outcome)
        sentinel.deliver(uri, name, folder)

    return put


@pytest.fixture
def named(sweep_of: Callable[..., Any], sweep_text: str, request: pytest.FixtureRequest) -> Any:
    """A sweep with a name of its own, so that tests share a tracking store."""
    name = re.sub("[^a-z]+", "-", request.node.name)
    made = sweep_of(sweep_text.replace("name: small", f"name: {name}"))
    made.name = name
    made.change(made.trials, environment=OLD)
    return made


def test_one_environment_has_nothing_to_show(named: Any, stand: Callable[..., None], uri: str) -> None:
    stand(OLD, LOSSES, 1.0, name=named.name)
    (only,) = drift_of(RunReader(uri), named.recorded())
    assert (only.environment, only.changes, only.deviation) == (platform_digest(OLD), (), 0.0)
    assert drift.lines((only,)) == []


def test_a_second_environment_is_shown_with_what_changed_and_how_far_its_losses_are(
    named: Any, stand: Callable[..., None], uri: str
) -> None:
    new = environment(torch="2.13.0", processor="two")
    stand(OLD, LOSSES, 1.0, name=named.name)
    stand(new, (3.0, 2.5 + 2e-6, 2.25 - 1e-6), 2.0, name=named.name)
    stand(new, LOSSES, 3.0, name=named.name)
    first, second = drift_of(RunReader(uri), named.recorded())
    assert first.deviation == 0.0 and second.deviation == pytest.approx(2e-6, rel=1e-6)
    assert second.changes == ("torch 2.12.0 -> 2.13.0", "processor one -> two")
    board = board_of(named.recorded(), drift=(first, second))
    text = render.markdown(board)
    assert "2e-06" in text and "torch 2.12.0 -&gt; 2.13.0, processor one -&gt; two" in text
    assert board.rows == board_of(named.recorded()).rows
    assert len(RunReader(uri).side_runs(named.name, "sentinel")) == 2 and RunReader(uri).runs(named.name) == []


def test_an_environment_of_trials_without_a_sentinel_is_named(named: Any, stand: Callable[..., None], uri: str) -> None:
    stand(OLD, LOSSES, 1.0, name=named.name)
    named.change(named.trials[:3], environment=environment(numpy="2.5.0"), environment_digest="other")
    named.change(named.trials[3:], environment=OLD)
    _, other = drift_of(RunReader(uri), named.recorded())
    assert (other.deviation, other.changes, other.run_id) == (None, ("numpy 2.4.0 -> 2.5.0",), None)
    assert "it has not run there" in drift.lines(drift_of(RunReader(uri), named.recorded()))[-1]


def test_sweeps_without_sentinels_show_their_environments_once_there_are_two(named: Any, stand: Callable[..., None], uri: str) -> None:
    stand(OLD, LOSSES, 1.0, name="makes-the-store")
    Tracker(uri, named.name, "d").experiment_id()
    named.change(named.trials, environment=OLD)
    assert drift_of(RunReader(uri), named.recorded()) == ()
    named.change(named.trials[-1:], environment=environment(torch="2.13.0"), environment_digest="other", started=2000.0, ended=2001.0)
    old, new = drift_of(RunReader(uri), named.recorded())
    assert old.changes == () and new.changes == ("torch 2.12.0 -> 2.13.0",) and old.deviation is new.deviation is None


def test_another_number_of_steps_or_another_sentinel_is_told(named: Any, stand: Callable[..., None], uri: str) -> None:
    stand(OLD, LOSSES, 1.0, name=named.name)
    stand(environment(torch="2.13.0"), LOSSES[:2], 2.0, name=named.name)
    stand(environment(torch="2.14.0"), LOSSES, 3.0, name=named.name, seed=101)
    _, shorter, other = drift_of(RunReader(uri), named.recorded())
    assert shorter.deviation is None and other.deviation == 0.0
    assert any(change.startswith("sentinel ") for change in other.changes)


def test_a_record_that_somebody_edited_breaks_nothing(named: Any, stand: Callable[..., None], uri: str, client: Any) -> None:
    stand(OLD, LOSSES, 1.0, name=named.name)
    stand(environment(torch="<script>\x1b[31m" + "9" * 1000), LOSSES, 2.0, name=named.name)
    edited = RunReader(uri).side_runs(named.name, "sentinel")[1]
    for losses in ("not JSON", "{}", "[NaN, 1, 2]", "[1, NaN, 2]", '["a"]', "[1e999, 1, 2]", "[" * 4000):
        client.set_tag(edited.run_id, sentinel.LOSSES, losses)
        found = drift_of(RunReader(uri), named.recorded())
        assert found[0].deviation == 0.0 and all(entry.deviation is None for entry in found[1:])
        json.dumps([entry.model_dump() for entry in found], allow_nan=False)
        assert all(len(change) < 300 for entry in found for change in entry.changes)


def test_a_failed_sentinel_is_not_delivered(tmp_path: Path, uri: str, trial_of: Callable[..., Any], outcome_of: Callable[..., Any]) -> None:
    folder, trial = Storage.at(tmp_path / "sweep"), trial_of()
    failed = outcome_of(trial, environment=OLD, status="error", error="it broke", metrics={})
    OutcomeStore(folder / SENTINELS / platform_digest(OLD) / "outcomes").commit(trial, failed)
    sentinel.deliver(uri, "failed", folder)
    (folder / SENTINELS / "rubbish").write(b"no folder")
    sentinel.deliver(uri, "failed", folder)
    assert "failed" not in RunReader(uri).sweeps()
