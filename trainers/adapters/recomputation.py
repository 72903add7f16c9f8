"""Gradient checkpointing: the layers of a base are run again in the backward pass, so that their activations need not be kept."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from search_spaces.errors import NotApplicableError
from trainers.adapters.attach import AdaptedModel
from trainers.adapters.partition import is_collective


def recompute_layers(model: AdaptedModel) -> None:
    """Let the layers of an attached model keep only their inputs for the backward pass, until the method is taken off.

    Outputs and gradients are those of the plain pass, bit for bit: the second run of a layer draws the same dropout, sees the same
    tensors in the place of parameters and the same cached keys and values. Hooks on a layer itself run once.

    Raises:
        NotApplicableError: the base says of no layer that it may be run again, or is partitioned over several workers.
    """
    if is_collective(model.base):
        raise NotApplicableError(
            "gradient checkpointing is not available on a base that ZeRO-3 has partitioned. "
            "Fix: compute.gradient_checkpointing: false, or deepspeed.zero_stage: 2"
        )
    layers = _layers(model.base)
    if not layers:
        raise NotApplicableError(
            f"{type(model.base).__name__} has no layers that may be run again. Fix: compute.gradient_checkpointing: false"
        )
    for layer in layers:
        # `attached` puts modules back as they were, this attribute included.
        layer.forward = functools.partial(_checkpointed, model, layer, layer.forward)


def _layers(base: nn.Module) -> list[nn.Module]:
    """Return the outermost modules that transformers marks as fit for it."""
    # Imported here: counting needs no transformers.
    from transformers.modeling_layers import GradientCheckpointingLayer

    found: list[nn.Module] = []
    inside: set[nn.Module] = set()
    for module in base.modules():
        if isinstance(module, GradientCheckpointingLayer) and module not in inside:
            found.append(module)
            inside.update(module.modules())
    return found


def _checkpointed(model: AdaptedModel, layer: nn.Module, forward: Callable[..., Any], *inputs: Any, **options: Any) -> Any:
    if not (model.training and torch.is_grad_enabled()):
        return forward(*inputs, **options)

    def contexts() -> tuple[AbstractContextManager[Any], AbstractContextManager[Any]]:
        return nullcontext(), _SecondRun(model, layer)

    run = functools.partial(_pure, forward)
    return checkpoint(run, *inputs, use_reentrant=False, context_fn=contexts, **options)


def _pure(forward: Callable[..., Any], *inputs: Any, **options: Any) -> Any:
    """Run a layer on a copy of the cache, which holds the keys and values that go before the text, or nothing: a run adds its own."""
    cache = options.get("past_key_values")
    if cache is not None:
        own = copy.copy(cache)
        own.layers = [copy.copy(part) for part in cache.layers]
        options["past_key_values"] = own
    return forward(*inputs, **options)


class _SecondRun:
    """Puts the state of the first run of a layer back for the length of a second one.

    Torch's own generators are put back by `checkpoint`, tensors in the place of parameters by nobody: the pass that they were put in for
    is over by then.
    """

    def __init__(self, model: AdaptedModel, layer: nn.Module) -> None:
        self.model = model
        self.dropout = model.dropout.generator.get_state()
        self.parameters = [(module._parameters, dict(module._parameters)) for module in layer.modules() if module._parameters]
        self._present: list[dict[str, Any]] = []
        self._present_dropout = self.dropout

    def __enter__(self) -> None:
        generator = self.model.dropout.generator
        self._present_dropout = generator.get_state()
        self._present = [dict(held) for held, _ in self.parameters]
        generator.set_state(self.dropout)
        for held, then in self.parameters:
            held.update(then)

    def __exit__(self, *error: object) -> None:
        self.model.dropout.generator.set_state(self._present_dropout)
        for (held, _), now in zip(self.parameters, self._present, strict=True):
            held.update(now)
        self._present = []
        self.model.let_go()
