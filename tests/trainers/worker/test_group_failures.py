"""What one worker of a group suffers alone."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from search_spaces.trial import Trial
from tests.services.worker_group import Raised, WorkerGroup
from trainers.outcomes import OutcomeStore
from trainers.results import Job


def test_a_lone_failure_is_raised_and_never_recorded(trial_of: Callable[..., Trial], tmp_path: Path) -> None:
    trial = trial_of(training={"batch_size": 4, "steps": 6})
    with WorkerGroup(2) as group:
        group.set("trainers.recording:FAILED_SECONDS", 1.0)
        group.begin("run", Job(trial, "first", str(tmp_path)), fail_at={1: 2}, kill_at=None)
        alone = group.answer(1)
        assert isinstance(alone, Raised) and "worker 1 was made to fail" in alone.text
        # The first worker waits in a collective operation, until the process of the other one is gone.
        os.kill(group.process_ids[1], signal.SIGKILL)
        left = group.answer(0)
        assert isinstance(left, Raised), "the loss of a worker is no result of the trial"
    assert OutcomeStore(tmp_path / "outcomes").read(trial.id) is None
