"""ZeRO-3: partitions the weights of a resident base over the workers of a group, once, for all the trials that run on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from trainers.adapters.copies import in_head
from trainers.group import Group, library

NEVER = 1_000_000_000
PARTITIONED = 3
"""The ZeRO stage that partitions weights."""


class Partitioned:
    """A base in DeepSpeed's hands: each layer's weights are gathered when it runs, and let go of afterwards.

    Left whole are the classification head, which has another size in another task, normalisation layers and biases: they are small, and
    adapters put tensors of their own in their place.
    """

    def __init__(self, base: nn.Module, zero: Mapping[str, Any], group: Group) -> None:
        """Partition the weights, one after the other, so that a device never holds them all; all workers call this together.

        Args:
            base: whole and frozen, in the memory of the host.
            zero: DeepSpeed's `zero_optimization`.
            group: the workers, whose process group is there.
        """
        self.base, self.group = base, group
        deepspeed, self._linear = library(), torch.nn.functional.linear
        dtype = next(base.parameters()).dtype
        config = {
            "zero_optimization": {**{key: value for key, value in zero.items() if key != "offload_optimizer"}, "stage": PARTITIONED},
            "bf16": {"enabled": dtype == torch.bfloat16},
            "train_micro_batch_size_per_gpu": 1,
            "steps_per_print": NEVER,
        }
        with _apart(base):
            deepspeed.zero.Init(module=base, config_dict_or_path=config, dtype=dtype)
            self._engine, *_ = deepspeed.initialize(model=base, config=config)
            small = [p for p in base.parameters() if p.ds_persist or len(p.ds_shape) < 2]  # type: ignore[attr-defined]
            if small:
                small[0].all_gather(param_list=small)  # type: ignore[attr-defined]
            for parameter in small:
                # A parameter that only persists is let go of as long as DeepSpeed learns the order of the modules.
                parameter.ds_persist = parameter.is_external_param = True  # type: ignore[attr-defined]

    def close(self) -> None:
        """Let go of the base, whose weights stay in parts."""
        from deepspeed.runtime.zero.parameter_offload import FWD_MODULE_STACK

        self._engine.destroy()
        # DeepSpeed would keep the base alive, and its own product with a matrix for every model.
        FWD_MODULE_STACK.clear()
        torch.nn.functional.linear = self._linear


@contextmanager
def _apart(base: nn.Module) -> Iterator[None]:
    """Take the modules that stay whole out of a base for the length of a `with` block."""
    taken = []
    for path, module in list(base.named_modules()):
        for name, child in list(module.named_children()):
            if in_head(f"{path}.{name}".lstrip(".") + ".") or _is_small(child):
                taken.append((module._modules, name, child))
                module._modules[name] = nn.Identity()
    try:
        yield
    finally:
        for modules, name, child in taken:
            modules[name] = child


def _is_small(module: nn.Module) -> bool:
    own = list(module.parameters())
    return bool(own) and all(parameter.dim() < 2 for parameter in own)
