"""How much memory a pack needs, and how much it may have: the base once, and for each lane its adapter, optimiser and activations."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import torch

from trainers.packing.choice import Measurement

SAFETY = 0.85
"""Share of the memory that a pack may plan with: some evaluations take more than training, and allocators keep what they freed."""
_CONTROL_GROUP = Path("/sys/fs/cgroup")


@dataclass(frozen=True)
class MemoryModel:
    """Predicts the peak of a pack from those of narrower ones, the trial alone being the first.

    Attributes:
        resting_bytes: what the process holds before any training: the base, libraries, data.
        measured: what packs needed on the longest batch.
    """

    resting_bytes: int
    measured: tuple[Measurement, ...]

    @property
    def lane_bytes(self) -> float:
        """What a lane adds at most: adapter, gradients, optimiser state and activations."""
        return max(max(0, found.peak_bytes - self.resting_bytes) / found.lanes for found in self.measured)

    def predicted(self, lanes: int) -> int:
        """Return the peak of a pack."""
        return self.resting_bytes + round(lanes * self.lane_bytes)


def resident_bytes() -> int:
    """Return what this process holds now: of the device, or on CPU of the machine's memory."""
    return torch.cuda.memory_allocated() if torch.cuda.is_available() else int(psutil.Process().memory_info().rss)


def share_bytes(reserved: int | None, side_by_side: int) -> int:
    """Return what this process may use in all.

    Args:
        reserved: memory that a trial reserves (`resources.memory`); None takes a share of the machine's.
        side_by_side: processes of the sweep on this machine.
    """
    own = resident_bytes()
    if torch.cuda.is_available():
        free, total = torch.cuda.mem_get_info()
        return int(SAFETY * min(own + free, total))
    total, available = _machine_bytes()
    fair = min(own + available // side_by_side, total // side_by_side)
    return int(SAFETY * (fair if reserved is None else min(reserved, own + available)))


def _machine_bytes() -> tuple[int, int]:
    """Return the memory of the machine, or of the container, and what of it can still be had."""
    memory = psutil.virtual_memory()
    total, available = memory.total, memory.available
    with suppress(OSError, ValueError):
        limit = int((_CONTROL_GROUP / "memory.max").read_text())
        total, available = min(total, limit), min(available, limit - int((_CONTROL_GROUP / "memory.current").read_text()))
    return total, max(0, available)


def fits(model: MemoryModel, lanes: int, limit_bytes: int) -> bool:
    """Tell whether a pack stays below a limit."""
    return model.predicted(lanes) <= limit_bytes


def widths(largest: int) -> Sequence[int]:
    """Return the widths to try: powers of two."""
    return [2**power for power in range(largest.bit_length()) if 2**power <= largest]
