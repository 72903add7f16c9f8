from __future__ import annotations

from typing import Any

import pytest

from cluster.handout import Ending, Limits
from orchestrator.sweep import proxy
from orchestrator.sweep.proxy import Proxy


@pytest.mark.parametrize(("packed", "time_limit"), [(1, 60.0), (4, None)])
def test_only_the_worker_can_tell_how_long_a_packed_trial_computes(
    packed: int, time_limit: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[Limits] = []

    def hand_out(members: Any, job: Any, limits: Limits) -> Ending:
        given.append(limits)
        return Ending()

    monkeypatch.setattr(proxy, "hand_out", hand_out)
    monkeypatch.setattr("ray.get_actor", lambda name: name)
    tried = Proxy.__new__(Proxy)
    tried.config = {"jobs": {"a": {"trial": "{}", "packed": packed}}, "members": ["group-0"], "pauses": False}
    tried.setup(tried.config, job=lambda **content: content, limits=Limits(stall=5, time_limit=60))
    assert [ending["trial_id"] for ending in tried.step()["endings"]] == ["a"]
    assert given == [Limits(stall=5, time_limit=time_limit)]
