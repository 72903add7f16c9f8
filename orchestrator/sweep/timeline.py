"""Where the time of a run went: what the trials say of theirs, and what lay before, between and after them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from trainers.results import Profile

COMPUTING = ("load", "swap", "train", "evaluate")
"""What a worker does for one trial at a time."""
PARTS = ("train", "evaluate", "swap", "load", "store", "wait", "start", "idle", "finish")


@dataclass(frozen=True)
class HandOut:
    """A trial in the hands of a worker, in Unix seconds of the driver's machine, and what the trial tells of its time."""

    worker: int
    began: float
    ended: float
    profile: Profile


@dataclass(frozen=True)
class TimeUse:
    """The workers' time of one run.

    Attributes:
        workers: processes, or groups of them, that trained side by side.
        wall_seconds: of the run.
        seconds: of all workers together, by what they went to; in all `workers` x `wall_seconds`. `start` is what came before a worker's
            first trial: Ray, imports, the base; `finish` what came after its last one, with the delivery to MLflow. `store` and `wait`
            are what held a worker up: not what is written while the next trial trains.
        busy: share of training and evaluation from each worker's first trial to the end of the last trial of all; None without a trial.
    """

    workers: int = 0
    wall_seconds: float = 0.0
    seconds: Mapping[str, float] = field(default_factory=dict)
    busy: float | None = None

    def shares(self) -> dict[str, float]:
        """Return the parts as shares of `workers` x `wall_seconds`."""
        whole = sum(self.seconds.values())
        return {part: seconds / whole if whole else 0.0 for part, seconds in self.seconds.items()}

    def to_json(self) -> dict[str, Any]:
        """Return what `run --json` and the artifact `time.json` hold."""
        return {
            "workers": self.workers,
            "wall_seconds": self.wall_seconds,
            "seconds": dict(self.seconds),
            "shares": self.shares(),
            "busy": self.busy,
        }


@dataclass
class Timeline:
    """Collects the hand-outs of a run that left an Outcome; the time of others is idle.

    Attributes:
        begun: Unix time of the run's beginning.
        workers: side by side; 0 until training begins.
    """

    begun: float
    workers: int = 0
    hand_outs: list[HandOut] = field(default_factory=list)

    def note(self, worker: int, began: float, ended: float, profile: Profile) -> None:
        """Note that a worker had a trial, which left this profile."""
        self.hand_outs.append(HandOut(worker, began, ended, profile))

    def use(self, now: float) -> TimeUse:
        """Return where the time went.

        Args:
            now: Unix time up to which it is counted.
        """
        found = sorted({h.worker for h in self.hand_outs})
        by_worker = [[h for h in self.hand_outs if h.worker == worker] for worker in found]
        # A worker that never had a trial was starting until the end.
        last = max((h.ended for h in self.hand_outs), default=self.begun)
        first = [min(h.began for h in hand_outs) for hand_outs in by_worker]
        first += [last] * (self.workers - len(found))
        seconds = dict.fromkeys(PARTS, 0.0)
        for hand_outs in by_worker:
            for part, value in _parts(hand_outs).items():
                seconds[part] += value
        used = sum(seconds.values())
        seconds["start"] = sum(began - self.begun for began in first)
        seconds["idle"] = max(0.0, sum(last - began for began in first) - used)
        seconds["finish"] = len(first) * (now - last)
        span = sum(last - began for began in first)
        busy = (seconds["train"] + seconds["evaluate"]) / span if span > 0 else None
        return TimeUse(len(first), now - self.begun, seconds, busy)


def _parts(hand_outs: Sequence[HandOut]) -> dict[str, float]:
    """Return what one worker did with its trials: of their files and waiting, what no other trial's computing covers."""
    spans = [h.profile.spans for h in hand_outs]
    parts = {part: sum(span.get(part, 0.0) for span in spans) for part in COMPUTING}
    left = max(0.0, _length((h.began, h.ended) for h in hand_outs) - sum(parts.values()))
    # After the last look at its clock a trial still publishes its Outcome.
    published = sum(max(0.0, h.ended - h.began - h.profile.wall_seconds) for h in hand_outs)
    stored = sum(span.get("store", 0.0) for span in spans) + published
    return {**parts, "store": min(stored, left), "wait": max(0.0, left - stored)}


def _length(intervals: Iterable[tuple[float, float]]) -> float:
    """Return how much of a line intervals cover."""
    total, end = 0.0, float("-inf")
    for began, ended in sorted(intervals):
        total += max(0.0, ended - max(began, end))
        end = max(end, ended)
    return total
