"""Copies of a base's structure around its very weights, so that trials can be attached beside each other."""

from __future__ import annotations

import copy
from typing import Any

from torch import nn


def twin(base: nn.Module) -> nn.Module:
    """Return a model of the base's modules, hooks and attributes that holds the base's own parameters and buffers.

    What is changed of its structure, such as hooks, wrapped modules or parameters that are exchanged, stays with the twin.
    """
    own: dict[int, Any] = {id(tensor): tensor for tensor in (*base.parameters(), *base.buffers())}
    own |= {id(config): config for module in base.modules() if (config := getattr(module, "config", None)) is not None}
    return copy.deepcopy(base, own)
