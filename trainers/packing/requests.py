"""What lanes ask of their pack, and which of it can be done at once."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from trainers.packing.draws import States
from trainers.packing.views import View

if TYPE_CHECKING:
    from trainers.packing.passes import JointPass


@dataclass
class Output:
    """What a lane gets of a forward pass.

    Attributes:
        logits: of the lane's own rows; with gradients, a leaf of a graph of its own.
        past_key_values: the lane's own cache, if it has given one.
    """

    logits: Tensor
    past_key_values: Any = None


@dataclass(eq=False)
class Request:
    """What one lane waits for.

    Attributes:
        place: how far the lane has come: optimiser steps begun, and forward passes since then.
        done: whether `error`, or the result, is there.
    """

    place: tuple[int, int]
    done: bool = field(default=False, init=False)
    error: Exception | None = field(default=None, init=False)


@dataclass(eq=False)
class ForwardRequest(Request):
    """A forward pass of a lane's rows.

    Attributes:
        view: of the lane's model, which is prepared.
        inputs: keyword arguments of the base.
        graph: whether a backward pass may follow.
        states: of the generators that may draw in the pass, from before it.
    """

    view: View
    inputs: dict[str, Any]
    draws: Any
    graph: bool
    states: tuple[States, Tensor] | None = None
    result: Output | None = field(default=None, init=False)
    joint: JointPass | None = field(default=None, init=False)
    key: Hashable = field(init=False)

    def __post_init__(self) -> None:
        self.key = _kind(self)

    @property
    def rows(self) -> int:
        """Rows of the lane."""
        return len(self.inputs["attention_mask"])

    @property
    def tokens(self) -> int:
        """Tokens of the lane, padding included."""
        first = next(value for value in self.inputs.values() if isinstance(value, Tensor))
        return first.shape[0] * first.shape[1]


@dataclass(eq=False)
class BackwardRequest(Request):
    """A backward pass from a lane's outputs.

    Attributes:
        joint: the forward pass that they came from.
        forward: the lane's part of it.
        gradient: of the loss with respect to the lane's logits.
    """

    joint: JointPass
    forward: ForwardRequest
    gradient: Tensor


def _kind(request: ForwardRequest) -> Hashable:
    """Return what passes must have in common to be joined: all but their rows.

    A mask that hides nothing lets the base take another kernel, so it is told apart: a lane's numbers must not depend on its neighbours.
    """
    model = request.view.model
    inputs = tuple((name, _kind_of(value)) for name, value in sorted(request.inputs.items()))
    return request.graph, model.training, model.num_labels, bool(request.inputs["attention_mask"].all()), inputs


def _kind_of(value: Any) -> Hashable:
    if isinstance(value, Tensor):
        return tuple(value.shape[1:]), value.dtype
    length = getattr(value, "get_seq_length", None)
    return value if length is None else ("cache", length())


def draw_states(request: ForwardRequest) -> tuple[States, Tensor]:
    """Return the states that a pass of a lane starts from."""
    return request.draws.states, request.view.model.dropout.generator.get_state()


def rewind(request: ForwardRequest) -> None:
    """Put a lane's generators back to where the pass started, and let go of what its method shares within one."""
    assert request.states is not None
    request.draws.states, own = request.states
    model = request.view.model
    model.dropout.generator.set_state(own)
    with torch.set_grad_enabled(request.graph):
        model.again()


def is_allocation_failure(error: Exception) -> bool:
    """Tell whether memory was short."""
    return isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)) or "can't allocate memory" in str(error)
