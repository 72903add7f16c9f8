"""What a trial costs: seconds, bytes, operations; and the environment it ran in."""

from __future__ import annotations

import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch

from search_spaces.trial import digest
from trainers.operations import OperationCounter, Operations
from trainers.spans import Spans

PACKAGES = ("fairsweep", "torch", "transformers", "deepspeed", "peft", "datasets", "tokenizers", "numpy", "scipy")

WARM_UP_SHARE, WARM_UP_STEPS = 0.1, 5
"""Share of the steps that count as warm-up, and their largest number."""
LOADS, LOADING_SECONDS = 3, 2.0
"""How often an adapter is loaded for a profile, and after how many seconds in all it is not loaded again."""


class Meter:
    """Collects the costs of one trial, from its hand-out on.

    Attributes:
        operations: those of the step that was counted; None before it.
        spans: what the trial's time goes to.
    """

    def __init__(self) -> None:
        self.spans = Spans()
        self.operations: Operations | None = None
        self._steps: list[float] = []
        self._training_peak = self._evaluation_peak = 0

    @contextmanager
    def step(self, count_operations: bool) -> Iterator[None]:
        """Time one optimiser step, and count the operations of its forward and backward passes."""
        start = time.perf_counter()
        if count_operations:
            with OperationCounter() as counter:
                yield
            self.operations = counter.total()
        else:
            yield
        self._steps.append(time.perf_counter() - start)

    @contextmanager
    def evaluation(self) -> Iterator[None]:
        """Time one evaluation, and keep its memory apart from that of training."""
        if self._steps:
            self._training_peak = max(self._training_peak, peak_bytes())
            reset_peak()
        with self.spans.span("evaluate"):
            yield
        self._evaluation_peak = max(self._evaluation_peak, peak_bytes())
        reset_peak()

    def peak_bytes(self) -> int:
        """Return the peak of memory in training; in evaluation where there was no training before one."""
        return self._training_peak or self._evaluation_peak or peak_bytes()

    def seconds_per_step(self) -> float | None:
        """Return the median duration of the steps after the warm-up; None before the first step."""
        return steady_median(self._steps)


def steady_median(seconds: Sequence[float]) -> float | None:
    """Return the median duration of steps, the first ones left out: a tenth of them, at least one and at most five.

    In the first step kernels are chosen, memory is reserved and operations are counted; a GPU's clock settles within a few more. A single
    step is all there is and stands for itself.
    """
    warm_up = min(WARM_UP_STEPS, max(1, int(WARM_UP_SHARE * len(seconds))))
    steady = seconds[warm_up:] or seconds
    return statistics.median(steady) if steady else None


def seconds_to_load(load: Callable[[], None], times: int = LOADS, patience: float = LOADING_SECONDS) -> float:
    """Return the median duration of a few loadings.

    Args:
        load: loads once.
        times: how often it is called at most.
        patience: seconds in all after which it is not repeated any more.
    """
    seconds: list[float] = []
    while not seconds or (len(seconds) < times and sum(seconds) < patience):
        _finish_kernels()
        start = time.perf_counter()
        load()
        _finish_kernels()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def _finish_kernels() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak_bytes() -> int:
    """Return the peak of memory since it was reset: of the device, or on CPU of the process's resident set."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.exists():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def reset_peak() -> None:
    """Let the peak of memory begin at what is held now."""
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


def environment(execution: Mapping[str, Any], company: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """Return the environment of a trial and its digest.

    Args:
        execution: how it was executed, as far as that can change numbers: threads, workers, precision.
        company: what can change times and memory only, such as whether other trials ran beside it; left out of the digest.
    """
    content = {"versions": versions(), "hardware": hardware(), "execution": dict(execution)}
    return {**content, "execution": {**execution, **company}}, digest(content)[:16]
