"""Does what waiting lanes have asked for: which passes are joined, and what happens where one fails."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from torch import Tensor, nn

from trainers.packing.board import Board
from trainers.packing.caches import cached_bytes, joined_bytes_limit
from trainers.packing.passes import JointPass
from trainers.packing.requests import (
    BackwardRequest,
    ForwardRequest,
    Request,
    draw_states,
    is_allocation_failure,
    rewind,
)

log = logging.getLogger(__name__)


class Rounds:
    """Runs the passes of the lanes on one base.

    Args:
        board: what they run on.
    """

    def __init__(self, board: Board) -> None:
        self.board = board
        self._most_tokens: int | None = None

    def run(self, asked: Sequence[Request]) -> Sequence[Request]:
        """Do some of what all lanes wait for, and return it.

        Backward passes come before others, then what the lane that is furthest behind asks for, with all that is of the same kind. So
        lanes that begin alike but not at the same moment come into step, and stay there: those ahead wait.
        """
        backward = [request for request in asked if isinstance(request, BackwardRequest)]
        if backward:
            first = backward[0]
            chosen: list[Request] = [request for request in backward if request.joint is first.joint]
            self._backward(first.joint, [request for request in backward if request.joint is first.joint])
        else:
            forward = [request for request in asked if isinstance(request, ForwardRequest)]
            together = self._together(forward)
            self._forward(together)
            chosen = [*together]
        for request in chosen:
            request.done = True
        return chosen

    def _together(self, asked: Sequence[ForwardRequest]) -> list[ForwardRequest]:
        first = min(asked, key=lambda request: request.place)
        chosen = [first]
        for request in asked:
            if request is not first and request.key == first.key and self._fits([*chosen, request]):
                chosen.append(request)
        return sorted(chosen, key=lambda request: request.view.kin)

    def _fits(self, requests: Sequence[ForwardRequest]) -> bool:
        if self._most_tokens is not None and sum(request.tokens for request in requests) > self._most_tokens:
            return False
        caches = [request.inputs["past_key_values"] for request in requests if "past_key_values" in request.inputs]
        return sum(map(cached_bytes, caches)) <= joined_bytes_limit(len(requests), self.board.base_bytes)

    def _forward(self, requests: Sequence[ForwardRequest]) -> None:
        for request in requests:
            request.states = draw_states(request) if request.view.model.training else None
        try:
            JointPass(self.board, requests)
        except Exception as error:  # noqa: BLE001  whose it is shows when each lane runs by itself
            self._one_by_one(requests, error)

    def _one_by_one(self, requests: Sequence[ForwardRequest], error: Exception) -> None:
        if len(requests) == 1:
            requests[0].error = error
            return
        self._note(requests, error)
        for request in requests:
            self._alone(request)

    def _alone(self, request: ForwardRequest) -> None:
        try:
            if request.states is not None:
                rewind(request)
            JointPass(self.board, [request])
        except Exception as error:  # noqa: BLE001  it is this lane's own
            request.error = error

    def _note(self, requests: Sequence[ForwardRequest], error: Exception) -> None:
        if is_allocation_failure(error):
            self._most_tokens = sum(request.tokens for request in requests) // 2
            log.warning(
                "a pass of %d lanes did not fit in memory; from now on at most %d tokens are joined", len(requests), self._most_tokens
            )
        else:
            log.warning("a pass of %d lanes failed and is repeated lane by lane: %r", len(requests), error)

    def _backward(self, joint: JointPass, requests: Sequence[BackwardRequest]) -> None:
        before = _gradients(request.forward for request in requests)
        try:
            joint.backward(requests)
        except Exception as error:  # noqa: BLE001  whose it is shows when each lane runs by itself
            for parameter, gradient in before:
                parameter.grad = gradient
            if len(joint.requests) == 1:
                requests[0].error = error
                return
            self._note([request.forward for request in requests], error)
            for request in requests:
                self._again(request)

    def _again(self, request: BackwardRequest) -> None:
        """Repeat both passes for one lane."""
        try:
            rewind(request.forward)
            JointPass(self.board, [request.forward]).backward([request])
        except Exception as error:  # noqa: BLE001  it is this lane's own
            request.error = error


def _gradients(requests: Iterable[ForwardRequest]) -> list[tuple[nn.Parameter, Tensor | None]]:
    """Return the lanes' parameters with copies of their gradients, which a failing pass would leave half added to."""
    return [
        (parameter, None if parameter.grad is None else parameter.grad.clone())
        for request in requests
        for parameter in request.view.model.trainable().values()
    ]
