"""Products of vectors that belong together: the matrix side of tensors that are sums of rank-one terms."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

from torch import Tensor


def khatri_rao(factors: Sequence[Tensor]) -> Tensor:
    """Return the Kronecker products of vectors, row by row.

    Args:
        factors: tensors (..., n_1), (..., n_2), ... that agree in all but the last dimension.

    Returns:
        (..., n_1 n_2 ...), the last factor's index running fastest.
    """
    return reduce(lambda left, right: (left.unsqueeze(-1) * right.unsqueeze(-2)).flatten(-2), factors)
