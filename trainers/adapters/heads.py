"""Gives a base model's classification head the number of outputs that a task has."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn

from search_spaces.errors import NotApplicableError
from trainers.adapters.copies import in_head


def size_head(base: nn.Module, num_labels: int) -> None:
    """Replace the last matrix of the head by one with `num_labels` outputs; a `Snapshot` taken before undoes it.

    A head that has this number of outputs stays as it was loaded. A new matrix is drawn from N(0, initializer_range²) with a fixed
    seed, and its bias is zero: every adapter trains a head of its own, so only the untuned model runs on these values.

    Raises:
        NotApplicableError: the base has no head.
    """
    layer = _output_layer(base)
    if layer.out_features == num_labels:
        return
    config: Any = copy.deepcopy(base.config)
    config.num_labels = num_labels
    base.config = config
    old, deviation = layer.weight, getattr(config, "initializer_range", 0.02)
    weight = torch.empty(num_labels, layer.in_features)
    weight.normal_(0, deviation, generator=torch.Generator().manual_seed(0))
    layer.weight = nn.Parameter(weight.to(old.device, old.dtype), requires_grad=False)
    if layer.bias is not None:
        layer.bias = nn.Parameter(layer.bias.new_zeros(num_labels), requires_grad=False)
    layer.out_features = num_labels


def _output_layer(base: nn.Module) -> nn.Linear:
    layers = [module for name, module in base.named_modules() if in_head(f"{name}.") and isinstance(module, nn.Linear)]
    if not layers:
        raise NotApplicableError("the base has no classification head to predict labels with. Fix: use an encoder")
    return layers[-1]
