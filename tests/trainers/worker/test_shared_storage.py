from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from search_spaces.errors import StorageError
from search_spaces.trial import Trial
from trainers.results import Job
from trainers.worker import Worker

MARKER = "drivers/run.json"


def test_a_worker_that_does_not_see_the_drivers_file_trains_nothing(trial_of: Callable[..., Trial], worker: Worker, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="the storage is not shared. Fix: pass --storage of a folder that is mounted on every node"):
        worker.run(Job(trial_of(), "one", str(tmp_path / "micro"), marker=MARKER), lambda progress: pytest.fail("it trains"))
    assert not (tmp_path / "micro").exists()


def test_a_worker_that_sees_it_runs(trial_of: Callable[..., Trial], worker: Worker, tmp_path: Path) -> None:
    (tmp_path / "micro" / "drivers").mkdir(parents=True)
    (tmp_path / "micro" / MARKER).touch()
    assert worker.run(Job(trial_of(), "one", str(tmp_path / "micro"), marker=MARKER)) == "finished"
