"""The lanes on one base: who has the turn, and when they run a pass together."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from trainers.packing.board import Board
from trainers.packing.lane import Lane
from trainers.packing.muster import Muster
from trainers.packing.requests import Request
from trainers.packing.rounds import Rounds
from trainers.packing.twins import twin

SIGN_SECONDS = 5.0
"""How often a lane that waits gives a sign of life."""


class BaseChanged(Exception):
    """A trial has changed the base that all lanes are on."""


class Pack:
    """Trials that train in the threads of one process at the same time, each in a lane.

    One thread computes at a time: the one that has the turn. A lane has it from its beginning to its end, except while it waits for a pass
    or is `aside`. A pass is run once every lane waits for one, by the last that came: no lane that is still computing is left behind, and
    nothing is lost by waiting for it, since the turn is its own meanwhile.

    Args:
        threads: CPU threads of torch, which each Python thread must be told.

    Attributes:
        lanes: those that are there, in the order in which they came.
    """

    def __init__(self, threads: int = 1) -> None:
        self.threads = threads
        self.turn = threading.Lock()
        self.lanes: list[Lane] = []
        self._changed = threading.Condition(self.turn)
        self._closed = False
        self._base: nn.Module | None = None
        self._rounds: Rounds | None = None
        self._twins: list[nn.Module] = []
        self._muster = Muster()

    @contextmanager
    def lane(
        self,
        sign: Callable[[], None] = lambda: None,
        waited: Callable[[float], None] = lambda seconds: None,
        cohort: tuple[str, int] | None = None,
    ) -> Iterator[Lane]:
        """Join in for the length of a `with` block, with the turn.

        Args:
            sign: called now and then while the lane waits: a sign of life.
            waited: told of the seconds that the lane has just waited for the turn or for others. A joint pass counts as computed, its
                time divided among its lanes.
            cohort: name and size of the group of lanes that begin together: no pass is run before all of them are there.
        """
        began, lane = time.perf_counter(), Lane(self, sign, waited)
        # Seen by the others before it has the turn: they give it up, and wait for the newcomer.
        self.lanes.append(lane)
        if cohort is not None:
            self._muster.arrive(*cohort)
        with self.turn:
            try:
                while self._closed:
                    self._changed.wait(SIGN_SECONDS)
                    sign()
                waited(time.perf_counter() - began)
                # OpenMP keeps it for each thread.
                torch.set_num_threads(self.threads)
                yield lane
            finally:
                self.lanes.remove(lane)
                self.nudge()

    @contextmanager
    def alone(self, sign: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Wait until there is no lane, and let none in for the length of a `with` block.

        Args:
            sign: called now and then while it waits: a sign of life.
        """
        with self.turn:
            while self._closed or self.lanes:
                self._changed.wait(SIGN_SECONDS)
                sign()
            self._closed = True
        try:
            # OpenMP keeps it for each thread.
            torch.set_num_threads(self.threads)
            yield
        finally:
            with self.turn:
                self._closed = False
                self._changed.notify_all()

    # ------------------------------------------------------------------------------------------------------- for its lanes

    def board(self, base: nn.Module) -> Board:
        """Return what joint passes over a resident base run on. Only lanes on the same base may be there."""
        if self._rounds is None or self._base is not base:
            self._base, self._rounds, self._twins = base, Rounds(Board(base)), []
        return self._rounds.board

    def borrow(self, base: nn.Module) -> nn.Module:
        """Return a base for a lane to attach to, around the weights of the resident one."""
        self.board(base)
        return self._twins.pop() if self._twins else twin(base)

    def give_back(self, base: nn.Module, used: nn.Module) -> None:
        """Keep a lane's base for the next one; nothing is attached to it any more."""
        if base is self._base and self._rounds is not None:
            self._twins.append(used)
            self._rounds.board.forget()

    def let_go(self) -> None:
        """Forget the resident base, which is about to be freed; only lanes that are void may be on it."""
        self._base, self._rounds, self._twins = None, None, []

    def void(self) -> None:
        """End all lanes at their next pass, or in the one that they wait for: the base that they are on was changed."""
        for lane in self.lanes:
            lane.void = True
            lane.changed.notify()

    def settle(self, lane: Lane, fits: Callable[[], bool]) -> None:
        """Wait until the resident base is the one that a lane needs, or no other lane needs the one that is there."""
        began = time.perf_counter()
        while not fits() and any(not other.away for other in self.lanes if other is not lane):
            lane.away = True
            self.nudge()
            self._changed.wait(SIGN_SECONDS)
            lane.sign()
        lane.away = False
        lane.waited(time.perf_counter() - began)

    def fulfil(self, lane: Lane, request: Request) -> None:
        """Wait until a request of a lane is done.

        Raises:
            Exception: what the lane's own part of the pass raised.
        """
        lane.request, lane.shared, began = request, 0.0, time.perf_counter()
        lane.draws.leave()
        try:
            while not request.done:
                if lane.void:
                    raise BaseChanged
                if self._everyone_waits():
                    self._run()
                elif not lane.changed.wait(SIGN_SECONDS):
                    lane.sign()
        finally:
            lane.request = None
            lane.draws.enter()
        lane.waited(time.perf_counter() - began - lane.shared)
        if request.error is not None:
            raise request.error

    def nudge(self) -> None:
        """Wake a lane that can run a pass, after another one has gone; and those that wait for that."""
        self._changed.notify_all()
        if self._everyone_waits():
            next(lane for lane in self.lanes if not lane.away).changed.notify()

    def _everyone_waits(self) -> bool:
        present = [lane for lane in self.lanes if not lane.away]
        return bool(present) and self._muster.complete() and all(lane.request is not None and not lane.request.done for lane in present)

    def _run(self) -> None:
        assert self._rounds is not None
        began = time.perf_counter()
        done = self._rounds.run([lane.request for lane in self.lanes if lane.request is not None])
        share = (time.perf_counter() - began) / len(done)
        for lane in self.lanes:
            if lane.request in done:
                lane.shared = share
                lane.changed.notify()
