"""What a machine trains on: its GPUs as torch and their driver see them, and DeepSpeed on top."""

from __future__ import annotations

import logging
import os
import shutil
import subprocess
from collections.abc import Iterable
from typing import Any

from pydantic import BaseModel, ConfigDict

DRIVER_SECONDS = 30


class Gpu(BaseModel):
    """A GPU that torch can use.

    Attributes:
        capability: compute capability, such as 8.0.
        bfloat16: whether it computes in bfloat16.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    memory_bytes: int
    capability: str
    bfloat16: bool


class Accelerator(BaseModel):
    """What trials of one machine compute on.

    Attributes:
        gpus: those that torch can use.
        platform: CUDA or ROCm version that torch was built with; None for a build without.
        hardware: names of the GPUs that the driver lists, with its version; empty without `nvidia-smi`.
        driver: version of NVIDIA's driver.
        driver_error: why `nvidia-smi`, which is there, does not answer.
        deepspeed: name of DeepSpeed's accelerator; None where it cannot be imported.
        deepspeed_error: why it cannot.
        ops: asked-for DeepSpeed op -> whether it is built or can be built here.
    """

    model_config = ConfigDict(frozen=True)

    gpus: tuple[Gpu, ...] = ()
    platform: str | None = None
    hardware: tuple[str, ...] = ()
    driver: str | None = None
    driver_error: str = ""
    deepspeed: str | None = None
    deepspeed_error: str = ""
    ops: dict[str, bool] = {}


def examine(ops: Iterable[str] = ()) -> dict[str, Any]:
    """Return what this machine computes on, as JSON of an `Accelerator`.

    Args:
        ops: names of the DeepSpeed ops that are needed; others are not looked at, since that starts compilers.
    """
    import torch

    platform = torch.version.cuda or getattr(torch.version, "hip", None)
    gpus = [_gpu(index) for index in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
    return Accelerator(gpus=tuple(gpus), platform=platform, **_driver(), **_deepspeed(bool(gpus), ops)).model_dump()


def _gpu(index: int) -> Gpu:
    import torch

    found = torch.cuda.get_device_properties(index)
    with torch.cuda.device(index):
        # Emulated bfloat16 is many times slower than float32.
        native = torch.cuda.is_bf16_supported(including_emulation=False)
    return Gpu(name=found.name, memory_bytes=found.total_memory, capability=f"{found.major}.{found.minor}", bfloat16=native)


def _driver() -> dict[str, Any]:
    """Return what `nvidia-smi` says; a machine without NVIDIA's driver lacks it."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return {}
    command = [program, "--query-gpu=driver_version,name", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=DRIVER_SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        return {"driver_error": str(error)}
    if done.returncode:
        lines = (done.stdout or done.stderr).strip().splitlines()
        return {"driver_error": lines[0] if lines else f"exit code {done.returncode}"}
    pairs = [line.partition(",") for line in done.stdout.splitlines() if line.strip()]
    return {"driver": pairs[0][0].strip() if pairs else None, "hardware": tuple(name.strip() for _, _, name in pairs)}


def _deepspeed(gpu: bool, ops: Iterable[str]) -> dict[str, Any]:
    if not gpu:
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    logging.getLogger("DeepSpeed").setLevel(logging.ERROR)
    try:
        from deepspeed.accelerator import get_accelerator
        from deepspeed.git_version_info import installed_ops
        from deepspeed.ops.op_builder.all_ops import ALL_OPS

        usable = {op: installed_ops.get(op, False) or (op in ALL_OPS and bool(ALL_OPS[op].is_compatible(verbose=False))) for op in ops}
        return {"deepspeed": get_accelerator()._name, "ops": usable}
    except Exception as error:  # noqa: BLE001  an import that fails in any way is what is looked for
        return {"deepspeed_error": f"{type(error).__name__}: {error}"[:300]}
