"""One trial's place in a pack."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from trainers.adapters.attach import AdaptedModel
from trainers.packing.draws import Draws
from trainers.packing.requests import BackwardRequest, ForwardRequest, Output, Request
from trainers.packing.views import View

if TYPE_CHECKING:
    from trainers.packing.pack import Pack


class Lane:
    """A thread that trains one trial, and shares its passes over the base with the other lanes.

    Attributes:
        changed: notified when the lane's request is done, or another lane has gone.
        request: what the lane waits for.
        away: whether the lane needs another base than the one that is there.
        draws: the states of its global generators while it waits.
        sign: gives a sign of life.
        waited: is told of seconds spent waiting for the turn or for other lanes.
        shared: the lane's share of the seconds of joint passes since it began to wait.
        void: whether the base was changed while the lane was on it, so that its numbers say nothing.
    """

    def __init__(self, pack: Pack, sign: Callable[[], None], waited: Callable[[float], None]) -> None:
        self.pack, self.sign, self.waited = pack, sign, waited
        self.changed = threading.Condition(pack.turn)
        self.request: Request | None = None
        self.away = False
        self.draws = Draws()
        self.shared = 0.0
        self.void = False
        self._view: View | None = None
        self._last: ForwardRequest | None = None

    @contextmanager
    def base(self, resident: nn.Module) -> Iterator[nn.Module]:
        """Give a base to attach to for the length of a `with` block: the resident one's weights in modules of its own."""
        own = self.pack.borrow(resident)
        try:
            yield own
        finally:
            self._view = self._last = None
            self.pack.give_back(resident, own)

    def take(self, model: AdaptedModel, resident: nn.Module) -> None:
        """Let a model, attached to what `base` gave, run its passes in the pack.

        Raises:
            NotApplicableError: its method cannot run in a pack.
        """
        self._view = self.pack.board(resident).view(model)
        model.run_base, model.back_through_base, model.aside = self._forward, self._backward, self.aside

    @contextmanager
    def aside(self) -> Iterator[None]:
        """Give up the turn within a `with` block, for work on files or the network: nothing in it may touch torch's global state."""
        self.draws.leave()
        self.pack.turn.release()
        try:
            yield
        finally:
            began = time.perf_counter()
            self.pack.turn.acquire()
            self.waited(time.perf_counter() - began)
            self.draws.enter()

    def _forward(self, model: AdaptedModel, inputs: dict[str, Any]) -> Output:
        assert self._view is not None and self._view.model is model
        request = ForwardRequest(model.place, self._view, inputs, self.draws, torch.is_grad_enabled())
        self.pack.fulfil(self, request)
        assert request.result is not None
        # Only a pass with gradients is gone back through, and its inputs are kept for that.
        self._last = request if request.result.logits.requires_grad else None
        return request.result

    def _backward(self) -> None:
        last, self._last = self._last, None
        if last is None or last.result is None or last.joint is None or last.result.logits.grad is None:
            return
        gradient, last.result.logits.grad = last.result.logits.grad, None
        last.result = None
        self.pack.fulfil(self, BackwardRequest(last.place, last.joint, last, gradient))
