"""One cache of keys and values made of those of several lanes, for one joint pass.

Shapes: R rows of all lanes, h key-value heads, T tokens, j head size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from transformers import DynamicCache

JOINED_BYTES = 16 * 2**20
"""Caches up to this size in all are joined whatever the base: a pass over a small model costs more than copying them."""


def cached_bytes(cache: Any) -> int:
    """Return the size of the keys and values that a pass reads from a cache."""
    keys = getattr(cache.layers[0], "keys", None) if cache.layers else None
    return 0 if keys is None else 2 * keys.numel() * keys.element_size() * len(cache.layers)


def joined_bytes_limit(lanes: int, base_bytes: int) -> int:
    """Return the largest size of the caches of some lanes at which a joint pass is the faster one.

    It copies them, which is two accesses for each of their bytes, and reads the base's weights once where passes of their own read them
    once for every lane.
    """
    return max(JOINED_BYTES, (lanes - 1) * base_bytes // 2)


class JointCache(DynamicCache):
    """Hands each lane's cache its own rows, and joins what they return.

    Args:
        caches: of equal lengths; they take in the new tokens as in a pass of their own.
        sizes: rows of each.
    """

    def __init__(self, caches: Sequence[Any], sizes: Sequence[int]) -> None:
        super().__init__()
        self._caches, self._sizes = tuple(caches), list(sizes)
        # Lengths and masks are read from the layers, which are alike in all.
        self.layers = caches[0].layers

    def update(self, key_states: Tensor, value_states: Tensor, layer_idx: int, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Return keys and values of all lanes, (R, h, T, j) each, those of earlier passes before the new ones."""
        new = zip(self._caches, key_states.split(self._sizes), value_states.split(self._sizes), strict=True)
        keys, values = zip(*[cache.update(k, v, layer_idx, *args, **kwargs) for cache, k, v in new], strict=True)
        return torch.cat(keys), torch.cat(values)
