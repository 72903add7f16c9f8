"""Forward and backward passes over the rows of several lanes at once.

Shapes: R rows of all lanes, K kept positions, V vocabulary or classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from trainers.packing.board import Board
from trainers.packing.caches import JointCache
from trainers.packing.crew import Crew
from trainers.packing.requests import BackwardRequest, ForwardRequest, Output


class JointPass:
    """A forward pass over the rows of some lanes, and the backward pass that goes back through it.

    Args:
        board: what it runs on.
        requests: of one kind.

    Raises:
        Exception: whatever the base or a lane's method raises; no lane has a result then.
    """

    def __init__(self, board: Board, requests: Sequence[ForwardRequest]) -> None:
        self.requests = tuple(requests)
        self.sizes = [request.rows for request in requests]
        crew = Crew([request.view for request in requests], self.sizes)
        draws, first = [request.draws for request in requests], requests[0]
        with torch.set_grad_enabled(first.graph), board.manned(crew, draws, first.view.model.training):
            self._logits: Tensor | None = board.trunk(**_inputs(requests, self.sizes)).logits
        for request, part in zip(requests, self._logits.detach().split(self.sizes), strict=True):
            logits = part.requires_grad_() if self._logits.requires_grad else part
            request.result, request.joint = Output(logits, request.inputs.get("past_key_values")), self
        if not self._logits.requires_grad:
            self._logits = None

    def backward(self, requests: Sequence[BackwardRequest]) -> None:
        """Go back through the pass, once, for the lanes that ask for it; the others get no gradient.

        Raises:
            Exception: whatever is raised on the way; gradients may be there in part then.
        """
        assert self._logits is not None
        logits_RKV, self._logits = self._logits, None
        given = {id(request.forward): request.gradient for request in requests}
        parts = logits_RKV.detach().split(self.sizes)
        gradients = [given.get(id(r)) for r in self.requests]
        whole = [torch.zeros_like(part) if own is None else own for own, part in zip(gradients, parts, strict=True)]
        torch.autograd.backward([logits_RKV], [whole[0] if len(whole) == 1 else torch.cat(whole)])


def _inputs(requests: Sequence[ForwardRequest], sizes: Sequence[int]) -> dict[str, Any]:
    if len(requests) == 1:
        return requests[0].inputs
    return {name: _joined([request.inputs[name] for request in requests], sizes) for name in requests[0].inputs}


def _joined(values: Sequence[Any], sizes: Sequence[int]) -> Any:
    if isinstance(values[0], Tensor):
        return torch.cat(tuple(values))
    if hasattr(values[0], "get_seq_length"):
        return JointCache(values, sizes)
    return values[0]
