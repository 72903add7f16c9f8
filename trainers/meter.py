"""What a trial costs: seconds, bytes, operations; and the environment it ran in."""

from __future__ import annotations

import math
import platform
import resource
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode, sdpa_backward_flop_count, sdpa_flop_count

from search_spaces.trial import digest

PACKAGES = ("fairsweep", "torch", "transformers", "deepspeed", "peft", "datasets", "tokenizers", "numpy", "scipy")

# torch counts attention on GPUs only; these are its own formulas for the kernels that it takes on a CPU.
_CPU_ATTENTION: dict[Any, Any] = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: lambda q, k, v, *_, **__: sdpa_flop_count(q, k, v),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: lambda grad, q, k, v, *_, **__: sdpa_backward_flop_count(
        grad, q, k, v
    ),
}


def _fft_flops(shape: Sequence[int], axes: Sequence[int], per_element: float) -> int:
    """Return `per_element n log2 n` per transform of n elements: 5 complex, 2.5 real, as of radix 2 (Cooley & Tukey 1965)."""
    return round(per_element * math.prod(shape) * math.log2(max(1, math.prod(shape[axis] for axis in axes))))


# The length of a real transform is that of its real side; torch has no formulas for any.
_FOURIER: dict[Any, Any] = {
    torch.ops.aten._fft_r2c: lambda x, axes, *_, **__: _fft_flops(x, axes, 2.5),
    torch.ops.aten._fft_c2r: lambda x, axes, *_, out_shape, **__: _fft_flops(out_shape, axes, 2.5),
    torch.ops.aten._fft_c2c: lambda x, axes, *_, **__: _fft_flops(x, axes, 5),
}


class Meter:
    """Collects the costs of one trial.

    Attributes:
        busy_seconds: time spent in training steps and evaluations.
        flops: floating-point operations of the step that was counted; None before it.
    """

    def __init__(self) -> None:
        self.busy_seconds = 0.0
        self.flops: float | None = None
        self._steps: list[float] = []
        _reset_peak()

    @contextmanager
    def step(self, count_operations: bool) -> Iterator[None]:
        """Time one optimiser step, and count the operations that torch sees."""
        start = time.perf_counter()
        if count_operations:
            with FlopCounterMode(display=False, custom_mapping=_CPU_ATTENTION | _FOURIER) as counter:
                yield
            self.flops = float(counter.get_total_flops())
        else:
            yield
        self._steps.append(time.perf_counter() - start)
        self.busy_seconds += self._steps[-1]

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """Time one evaluation."""
        start = time.perf_counter()
        yield
        self.busy_seconds += time.perf_counter() - start

    def seconds_per_step(self) -> float | None:
        """Return the median duration of the steps, the first left out where there are more."""
        steps = self._steps[1:] or self._steps
        return statistics.median(steps) if steps else None


def peak_bytes() -> int:
    """Return the peak memory since the trial began: of the device, or on CPU of the process's resident set."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def _reset_peak() -> None:
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


@cache
def hardware() -> dict[str, Any]:
    """Return the hardware class: what may change numbers and times, but not which machine of that class it was."""
    accelerator = torch.cuda.get_device_name() if torch.cuda.is_available() else None
    return {"machine": platform.machine(), "processor": _processor(), "accelerator": accelerator}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


@cache
def versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that can change numbers."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def environment(**execution: Any) -> tuple[dict[str, Any], str]:
    """Return the environment of a trial, with how it was executed (threads, workers, ...), and its digest."""
    content = {"versions": versions(), "hardware": hardware(), "execution": execution}
    return content, digest(content)[:16]
