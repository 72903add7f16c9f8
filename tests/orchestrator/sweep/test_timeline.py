"""Where the time of a run went, from what the workers' trials tell."""

from __future__ import annotations

import pytest

from orchestrator.sweep.timeline import Timeline
from trainers.results import Profile


def profile(wall: float, **spans: float) -> Profile:
    return Profile(wall_seconds=wall, spans=spans)


def test_the_parts_are_the_workers_times_the_wall_time() -> None:
    timeline = Timeline(begun=100.0, workers=2)
    timeline.note(0, 110.0, 120.0, profile(9.0, train=6.0, evaluate=2.0, swap=0.5, store=0.5))
    timeline.note(0, 121.0, 126.0, profile(5.0, train=5.0))
    timeline.note(1, 112.0, 130.0, profile(18.0, train=15.0, load=3.0))
    use = timeline.use(now=132.0)
    assert use.workers == 2 and use.wall_seconds == 32.0
    assert sum(use.seconds.values()) == pytest.approx(2 * 32.0)
    assert sum(use.shares().values()) == pytest.approx(1.0)
    assert use.seconds["train"] == 26.0 and use.seconds["evaluate"] == 2.0 and use.seconds["load"] == 3.0
    assert use.seconds["start"] == 10.0 + 12.0 and use.seconds["finish"] == 2 * 2.0
    # A second between the trials of the first worker, and four at its end while the other one still trained.
    assert use.seconds["idle"] == pytest.approx(1.0 + 4.0)
    assert use.seconds["store"] == pytest.approx(0.5 + 1.0), "publishing the Outcome comes after the trial's last look at its clock"
    assert use.busy == pytest.approx(28.0 / (20.0 + 18.0))


def test_what_is_written_while_the_next_trial_trains_holds_up_nobody() -> None:
    timeline = Timeline(begun=0.0, workers=1)
    timeline.note(0, 0.0, 12.0, profile(12.0, train=10.0, store=2.0))
    timeline.note(0, 1.0, 20.0, profile(19.0, wait=9.0, train=10.0))
    use = timeline.use(now=20.0)
    assert use.seconds["train"] == 20.0 and use.busy == 1.0
    assert use.seconds["store"] == use.seconds["wait"] == use.seconds["idle"] == 0.0


def test_a_pack_waits_only_while_nobody_computes() -> None:
    timeline = Timeline(begun=0.0, workers=1)
    for _ in range(4):
        timeline.note(0, 0.0, 10.0, profile(10.0, train=2.0, wait=8.0))
    use = timeline.use(now=10.0)
    assert use.seconds["train"] == 8.0 and use.seconds["wait"] == pytest.approx(2.0)


def test_a_run_without_a_trial_only_started() -> None:
    use = Timeline(begun=5.0).use(now=6.0)
    assert (use.workers, use.busy, use.to_json()["shares"]["train"]) == (0, None, 0.0)
    idle = Timeline(begun=5.0, workers=2).use(now=6.0)
    assert sum(idle.seconds.values()) == pytest.approx(2.0) and idle.busy is None
