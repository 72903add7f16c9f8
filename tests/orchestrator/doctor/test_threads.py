"""What the doctor says of threads and cores."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.doctor import threads as module
from orchestrator.doctor.subject import Subject
from orchestrator.doctor.threads import advice, threads
from orchestrator.plan import Plan

SubjectOf = Callable[..., Subject]
Planned = Callable[..., Plan]


def levels(subject: Subject) -> list[str]:
    return [found.level for found in threads(subject)]


def test_a_node_that_offers_more_cores_than_it_has(subject_of: SubjectOf, planned: Planned) -> None:
    (found,) = threads(subject_of(planned(), resources={"CPU": 8}, cpus=2))
    assert found.level == "warning" and "6 x 1 thread at one time on 2 cores" in found.seen, found
    assert "--num-cpus=2" in found.fix


def test_cores_that_no_trial_uses(subject_of: SubjectOf, planned: Planned) -> None:
    (found,) = threads(subject_of(planned(resources={"solo": True}), resources={"CPU": 8}, cpus=8))
    assert found.level == "warning" and "7 cores stay idle" in found.seen and "resources.cpus: 8" in found.fix
    (found,) = threads(subject_of(planned(resources={"cpus": 3}), resources={"CPU": 8}, cpus=8))
    assert "2 x 3 threads" in found.seen and "resources.cpus: 4" in found.fix


def test_few_trials_leave_cores_idle_and_packs_need_fewer(subject_of: SubjectOf, planned: Planned) -> None:
    seen = [next(threads(subject_of(planned(packing=width), resources={"CPU": 6}, cpus=6))) for width in ("off", 3)]
    assert [found.level for found in seen] == ["ok", "warning"]
    assert "resources.cpus: 3" in seen[1].fix


def test_threads_that_fit_and_sweeps_that_need_no_cores(subject_of: SubjectOf, planned: Planned) -> None:
    assert levels(subject_of(planned(), resources={"CPU": 2}, cpus=2)) == ["ok"]
    assert levels(subject_of(planned(resources={"workers": 2}), resources={"CPU": 2}, cpus=2)) == ["ok"]
    gpu: dict[str, Any] = {"resources": {"gpus": 1}}
    assert levels(subject_of(planned(**gpu), resources={"CPU": 64, "GPU": 1}, cpus=64)) == []
    assert levels(subject_of()) == []


def test_a_run_on_this_machine_is_told_of_idle_cores(planned: Planned, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "usable_cores", lambda: 4)
    assert advice(planned()) == []
    (line,) = advice(planned(resources={"solo": True}))
    assert "3 cores stay idle" in line and "resources.cpus: 4" in line
    assert advice(planned(resources={"cpus": 8})) == [], "that nothing fits is told by the run itself"
