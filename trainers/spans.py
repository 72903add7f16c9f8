"""What the time of a trial goes to. The spans of a trial never overlap: of nested ones the innermost counts."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal, get_args

Kind = Literal["load", "swap", "train", "evaluate", "store", "wait"]
"""What a second can go to: base and data; adapter and engine, on and off, and the base's check; training steps; evaluations; files; the
turn to compute, or the other trials of a pack."""
KINDS: tuple[Kind, ...] = get_args(Kind)


class Spans:
    """Divides the time since it was made among kinds, for the one thread that runs the trial.

    Args:
        kind: what the time outside of all spans goes to.
        clock: gives seconds.
    """

    def __init__(self, kind: Kind = "swap", clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock, self._kind, self._since = clock, kind, clock()
        self._seconds: dict[Kind, float] = dict.fromkeys(KINDS, 0.0)

    @contextmanager
    def span(self, kind: Kind) -> Iterator[None]:
        """Give the time of a `with` block to a kind, but for spans inside of it."""
        outer = self._enter(kind)
        try:
            yield
        finally:
            self._enter(outer)

    def move(self, seconds: float, source: Kind, target: Kind) -> None:
        """Give seconds of one kind to another; any thread may do it while the trial's own waits.

        A pass that several trials make together is one trial's work and the others' waiting: this divides it among them.
        """
        self._seconds[source] -= seconds
        self._seconds[target] += seconds

    def waited(self, seconds: float) -> None:
        """Give seconds of the present span to waiting."""
        self.move(seconds, self._kind, "wait")

    @property
    def waiting_seconds(self) -> float:
        """Seconds of waiting that have ended."""
        return self._seconds["wait"]

    def seconds(self) -> dict[str, float]:
        """Return the seconds of each kind so far; together they are the time since this was made."""
        self._enter(self._kind)
        return {kind: max(0.0, seconds) for kind, seconds in self._seconds.items()}

    def _enter(self, kind: Kind) -> Kind:
        now, before = self._clock(), self._kind
        self._seconds[before] += now - self._since
        self._kind, self._since = kind, now
        return before
