from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from orchestrator.doctor.accelerators import bfloat16, deepspeed, gpus
from orchestrator.doctor.subject import Subject, ops_of
from orchestrator.plan import Plan
from trainers import accelerator

OLD = {"name": "Tesla T4", "memory_bytes": 2**34, "capability": "7.5", "bfloat16": False}
NEW = {"name": "A100", "memory_bytes": 2**35, "capability": "8.0", "bfloat16": True}


@pytest.fixture
def driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts an `nvidia-smi` in the path that runs a line of shell."""

    def write(line: str) -> None:
        program = tmp_path / "nvidia-smi"
        program.write_text(f"#!/bin/sh\n{line}\n")
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")

    return write


def seen_here(subject_of: Callable[..., Subject], plan: Plan | None = None) -> Any:
    (found,) = gpus(subject_of(plan, accelerated=accelerator.examine()))
    return found


def test_a_gpu_that_this_torch_cannot_use(subject_of: Callable[..., Subject], planned: Callable[..., Plan], driver: Any) -> None:
    driver("echo '550.54, NVIDIA A100'")
    found = seen_here(subject_of)
    assert found.level == "failure" and "NVIDIA A100 (driver 550.54)" in found.seen and "CUDA" in found.fix
    assert seen_here(subject_of, planned()).level == "warning", "a sweep without GPUs runs all the same"
    assert seen_here(subject_of, planned(resources={"gpus": 1})).level == "failure"


def test_a_driver_that_does_not_answer(subject_of: Callable[..., Subject], driver: Any) -> None:
    driver("echo 'Failed to initialize NVML: Driver/library version mismatch'; exit 18")
    found = seen_here(subject_of)
    assert found.level == "failure" and "version mismatch" in found.seen and "repair" in found.fix


def test_a_machine_without_gpus(subject_of: Callable[..., Subject]) -> None:
    assert seen_here(subject_of).level == "ok"


@pytest.mark.parametrize(("dtype", "gpu", "failing"), [("bfloat16", OLD, True), ("bfloat16", NEW, False), ("float32", OLD, False)])
def test_bfloat16_on_a_gpu_that_has_none(
    subject_of: Callable[..., Subject], planned: Callable[..., Plan], dtype: str, gpu: Any, failing: bool
) -> None:
    subject = subject_of(planned(models=[{"id": "micro-llama", "dtype": dtype}], resources={"gpus": 1}), gpus=[gpu])
    assert [found.level for found in bfloat16(subject)] == (["failure"] if failing else [])
    (shown,) = gpus(subject)
    assert shown.level == "ok" and gpu["name"] in shown.seen


def test_deepspeed_is_imported_on_its_accelerator(subject_of: Callable[..., Subject]) -> None:
    (found,) = deepspeed(subject_of(accelerated=accelerator.examine()))
    assert found.level == "ok" and "no compiler" in found.seen


def test_deepspeed_that_cannot_be_imported_or_lacks_an_op(subject_of: Callable[..., Subject], planned: Callable[..., Plan]) -> None:
    (found,) = deepspeed(subject_of(accelerated={"deepspeed": None, "deepspeed_error": "ImportError: no torch"}))
    assert found.level == "failure" and "no torch" in found.seen and "reinstall" in found.fix
    plan = planned(deepspeed={"zero_optimization": {"offload_param": {"device": "nvme"}}})
    assert ops_of(plan) == ("async_io",) and ops_of(planned()) == ops_of(None) == ()
    (found,) = deepspeed(subject_of(plan, accelerated={"ops": {"async_io": False}}))
    assert found.level == "failure" and "async_io" in found.seen
