from __future__ import annotations

from collections.abc import Callable
from typing import Any

import psutil

from orchestrator.doctor.memory import footprint_of, model_memory
from orchestrator.doctor.subject import Subject
from orchestrator.plan import Plan

GIB = 2**30
A100 = {"name": "A100", "memory_bytes": 80 * GIB, "capability": "8.0", "bfloat16": True}


def levels(subject: Subject) -> list[str]:
    return [found.level for found in model_memory(subject)]


def test_a_model_that_this_machine_cannot_hold(subject_of: Callable[..., Subject], planned: Callable[..., Plan]) -> None:
    (found,) = model_memory(subject_of(planned(models=["llama2-70b"]), memory_bytes=psutil.virtual_memory().total))
    assert found.level == "failure" and "llama2-70b in float32: 257.0 GiB base" in found.seen
    assert "bfloat16" in found.fix and "zero_stage: 3" in found.fix


def test_a_model_that_fits(subject_of: Callable[..., Subject], planned: Callable[..., Plan]) -> None:
    assert levels(subject_of(planned(), memory_bytes=16 * GIB, available_bytes=12 * GIB)) == ["ok"]


def test_trials_side_by_side_each_hold_a_base(subject_of: Callable[..., Subject], planned: Callable[..., Plan]) -> None:
    """7B in bfloat16 are 12.6 GiB."""
    memory = {"memory_bytes": 40 * GIB, "available_bytes": 40 * GIB, "resources": {"CPU": 4, "memory": 40 * GIB}}
    model = [{"id": "llama2-7b", "dtype": "bfloat16"}]
    assert levels(subject_of(planned(models=model, resources={"cpus": 4}), **memory)) == ["ok"]
    assert levels(subject_of(planned(models=model, resources={"cpus": 1}), **memory)) == ["failure"]
    assert levels(subject_of(planned(models=model, resources={"cpus": 1, "solo": True}), **memory)) == ["ok"]


def test_memory_that_long_texts_may_use_up_is_a_warning(subject_of: Callable[..., Subject], planned: Callable[..., Plan]) -> None:
    plan = planned(models=[{"id": "llama2-7b", "dtype": "bfloat16"}], training={"steps": 2, "max_length": 4000, "checkpoint": "last"})
    (found,) = model_memory(subject_of(plan, memory_bytes=20 * GIB, available_bytes=19 * GIB, resources={"CPU": 1, "memory": GIB}))
    assert found.level == "warning" and "micro_batch" in found.fix and "dtype" not in found.fix


def test_on_gpus_their_memory_counts(subject_of: Callable[..., Subject], planned: Callable[..., Plan]) -> None:
    def judged(gpus: float, **changes: Any) -> list[str]:
        plan = planned(models=[{"id": "llama2-13b", "dtype": "bfloat16"}], resources={"gpus": gpus}, **changes)
        return levels(subject_of(plan, gpus=[A100, A100], resources={"CPU": 32, "GPU": 2, "memory": 900 * GIB}, memory_bytes=8 * GIB))

    assert judged(1) == ["ok"] and judged(0.25) == ["failure"]


def test_the_largest_adapter_and_the_largest_micro_batch_count(planned: Callable[..., Plan]) -> None:
    small, large = (footprint_of(plan, plan.found.models[0]) for plan in (planned(), planned(methods={"lora": {"rank": [2, 8]}})))
    assert large.training_bytes == 4 * small.training_bytes and large.activation_bytes == small.activation_bytes
    plan = planned(grid={"learning_rate": [1e-3], "batch_size": [4, 8]})
    assert footprint_of(plan, plan.found.models[0]).activation_bytes == 2 * small.activation_bytes
