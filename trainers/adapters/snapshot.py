"""Remembers the structure of a base model, to put it back after a trial, and detects a change of its weights."""

from __future__ import annotations

import copy
import hashlib
from collections import OrderedDict
from typing import Any

import torch
from torch import nn

from trainers.adapters.partition import held

_STRUCTURE = (
    "_modules",
    "_parameters",
    "_buffers",
    "_forward_hooks",
    "_forward_pre_hooks",
    "_backward_hooks",
    "_backward_pre_hooks",
)


class Snapshot:
    """The modules, parameters, hooks and attributes of a model at one moment; holds references, copies no weights.

    Attributes:
        parameters: the model's parameters by name; tied ones once.
    """

    def __init__(self, base: nn.Module) -> None:
        self._states = [(module, type(module), _shallow_copy(module.__dict__)) for module in base.modules()]
        self.parameters = dict(base.named_parameters())
        self._trainable = [(p, p.requires_grad) for p in self.parameters.values()]

    def restore(self) -> None:
        """Undo every structural change made since: wrapped modules, hooks, patched methods, requires_grad, gradients."""
        for module, kind, attributes in self._states:
            object.__setattr__(module, "__class__", kind)
            module.__dict__.clear()
            module.__dict__.update(_shallow_copy(attributes))
        for parameter, trainable in self._trainable:
            parameter.requires_grad_(trainable)
            parameter.grad = None


def _shallow_copy(attributes: dict[str, Any]) -> dict[str, Any]:
    return {key: _copied(value) if key in _STRUCTURE else value for key, value in attributes.items()}


def _copied(value: Any) -> Any:
    # `copy.copy` takes six times as long; a base has thousands of these, and a plan by budgets attaches hundreds of times. DeepSpeed's
    # own kind of dictionary has no `copy` that works.
    return value.copy() if type(value) in (dict, OrderedDict) else copy.copy(value)


def fingerprint(base: nn.Module) -> str:
    """Return a hash of every bit that this worker holds of the model's parameters and buffers, in about 0.1 s per GB.

    Each tensor's bytes are summed as 64-bit words over rows and columns, weighted by position, so that a changed, moved or
    swapped value shows; not meant against an adversary.
    """
    parts = []
    with torch.no_grad():
        for name, tensor in [*base.named_parameters(), *base.named_buffers()]:
            own = held(tensor)
            parts.append((name, str(own.dtype), tuple(own.shape), *_word_sums(own)))
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def _word_sums(tensor: torch.Tensor) -> tuple[int, ...]:
    raw = tensor.detach().contiguous().reshape(-1).view(torch.uint8)
    words = raw.numel() // 8
    bits = torch.cat([raw[: words * 8].view(torch.int64), raw[words * 8 :].to(torch.int64)]) if raw.numel() % 8 else raw.view(torch.int64)
    # Sums wrap around at 64 bits, where two flipped signs would cancel: the upper bits are summed once more, shifted down.
    return (*_weighted_sums(bits), *_weighted_sums(bits >> 24))


def _weighted_sums(bits: torch.Tensor) -> tuple[int, ...]:
    width = 4093
    whole = bits.numel() // width * width
    grid, rest = bits[:whole].view(-1, width), bits[whole:]
    sums = (grid.sum(1), grid.sum(0), rest)
    return tuple(int((s * torch.arange(1, s.numel() + 1, device=s.device)).sum()) for s in sums)
