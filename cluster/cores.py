"""Which cores this process may use, and whether the threads of trials side by side fit them."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_QUOTAS = (("/sys/fs/cgroup/cpu.max", ""), ("/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"))
"""Files of the container's share of processor time, in version 2 and version 1: quota and period, in one file or in two."""


def usable_cores(quotas: Sequence[tuple[str, str]] = _QUOTAS) -> int:
    """Return how many cores this process may keep busy: those it may run on, or what its container may take of them, one at least."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min([allowed, *(_quota(*files) or allowed for files in quotas)]))


def _quota(quota_file: str, period_file: str) -> int | None:
    """Return the whole cores of a container's share; None without a limit."""
    try:
        text = " ".join(Path(file).read_text(encoding="ascii") for file in (quota_file, period_file) if file)
        quota, period = map(int, text.split())
    except (OSError, ValueError):  # no such file, or `max`
        return None
    return max(1, math.floor(quota / period)) if quota > 0 and period > 0 else None


@dataclass(frozen=True)
class CoreUse:
    """How a sweep uses cores that its trials share.

    Attributes:
        cores: there are.
        workers: processes that compute at one time.
        threads: of each.
    """

    cores: int
    workers: int
    threads: int

    @property
    def busy(self) -> int:
        """Threads that compute at one time."""
        return self.workers * self.threads

    @property
    def oversubscribed(self) -> bool:
        """Whether threads wait for each other's cores."""
        return self.busy > self.cores

    @property
    def better(self) -> int:
        """Threads per worker that the cores suffice for."""
        return max(1, self.cores // self.workers)

    @property
    def idle(self) -> bool:
        """Whether every worker could have another thread."""
        return self.better > self.threads

    def __str__(self) -> str:
        each = "1 thread" if self.threads == 1 else f"{self.threads} threads"
        return f"{self.workers} x {each} at one time on {self.cores} {'core' if self.cores == 1 else 'cores'}"
