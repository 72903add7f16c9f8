"""The course of a search without Ray: however often it is stopped, it hands out the same trials."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.orchestrator.leaderboard.conftest import Sweep
from tests.orchestrator.leaderboard.test_search_audit import TEXT, score
from tests.orchestrator.sweep.test_changeover import Runs


@pytest.mark.parametrize("most", [1, 9, 17])
def test_a_search_that_is_stopped_again_and_again_ends_like_an_undisturbed_one(tmp_path: Path, most: int) -> None:
    plan = Sweep(TEXT, score).plan
    _, whole = Runs(tmp_path / "whole").run(plan, score)
    stopped, parts = Runs(tmp_path / "stopped"), list[str]()
    while ran := stopped.run(plan, score, most)[1]:
        assert len(ran) <= most
        parts += [trial.id for trial in ran]
    assert sorted(parts) == sorted(trial.id for trial in whole) and len(parts) == 45
