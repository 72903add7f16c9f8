"""When the last of many trials ends on some GPUs, each with lanes that share its base: a simulation, in seconds of no machine."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from math import inf

Gain = Callable[[str, int], float]
"""(kind of trial, trials side by side on a GPU) -> their joint throughput, in trials alone."""
ROUNDING = 1e-6
"""Seconds below which a trial has ended."""


@dataclass(frozen=True)
class Stage:
    """Trials of one cell that may run at the same time; when all have ended, the next stage may run.

    Attributes:
        kind: what the gain of packing depends on.
        seconds: how long each trial takes alone.
        then: the stage that waits for all of these, as a rung of halving does.
    """

    kind: str
    seconds: tuple[float, ...]
    then: Stage | None = None

    def chain(self) -> Iterable[Stage]:
        """Yield this stage and those after it."""
        stage: Stage | None = self
        while stage is not None:
            yield stage
            stage = stage.then


@dataclass
class _Open:
    """A stage of which some trials have not ended."""

    stage: Stage
    left: int


class _Gpu:
    """The trials on one GPU: each with the seconds that it would still take alone."""

    def __init__(self, gain: Gain) -> None:
        self._gain, self._now = gain, 0.0
        self.lanes: list[tuple[float, _Open]] = []
        self.next_end = inf

    def start(self, now: float, seconds: float, stage: _Open) -> None:
        """Take one more trial."""
        self.lanes = [*self._left(now), (seconds, stage)]
        self._settle(now)

    def end(self) -> list[_Open]:
        """Go on to where the next of its trials ends; return the stages of those that do."""
        left, now = self._left(self.next_end), self.next_end
        self.lanes = [(seconds, stage) for seconds, stage in left if seconds > ROUNDING]
        self._settle(now)
        return [stage for seconds, stage in left if seconds <= ROUNDING]

    def _left(self, now: float) -> list[tuple[float, _Open]]:
        return [(seconds - (now - self._now) * self._speed(stage), stage) for seconds, stage in self.lanes]

    def _settle(self, now: float) -> None:
        self._now = now
        self.next_end = min((now + seconds / self._speed(stage) for seconds, stage in self.lanes), default=inf)

    def _speed(self, of: _Open) -> float:
        """Return the share of its speed alone that a trial has beside the others."""
        return self._gain(of.stage.kind, len(self.lanes)) / len(self.lanes)


def makespan(stages: Sequence[Stage], gpus: int, lanes: int = 1, gain: Gain = lambda kind, count: 1.0) -> float:
    """Return the seconds until all stages are over, trials handed out in order, each to the GPU with most lanes free.

    Survivors of a rung go before trials that have not started.
    """
    machines = [_Gpu(gain) for _ in range(gpus)]
    waiting = deque(_trials(stages))
    now = 0.0
    while waiting or any(machine.lanes for machine in machines):
        _hand_out(waiting, machines, lanes, now)
        first = min(machines, key=lambda machine: machine.next_end)
        now = first.next_end
        for stage in first.end():
            stage.left -= 1
            if stage.left == 0 and stage.stage.then is not None:
                waiting.extendleft(_trials([stage.stage.then]))
    return now


def _trials(stages: Iterable[Stage]) -> Iterable[tuple[float, _Open]]:
    for stage in stages:
        opened = _Open(stage, len(stage.seconds))
        yield from ((seconds, opened) for seconds in stage.seconds)


def _hand_out(waiting: deque[tuple[float, _Open]], machines: Sequence[_Gpu], lanes: int, now: float) -> None:
    while waiting:
        machine = min(machines, key=lambda m: len(m.lanes))
        if len(machine.lanes) == lanes:
            return
        machine.start(now, *waiting.popleft())
