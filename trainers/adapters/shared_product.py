"""Multiplies an input with one shared factor only once."""

from __future__ import annotations

from torch import Tensor, nn


class SharedProduct:
    """Multiplies an input with a shared factor, once for all the matrices that read the same tensor (q, k and v; gate and up).

    The backward pass gains as much: it, too, has one product instead of one for each matrix.
    """

    def __init__(self) -> None:
        self._source: Tensor | None = None
        self._factor: Tensor | None = None
        self._result: Tensor | None = None

    def __call__(self, x: Tensor, factor: Tensor) -> Tensor:
        """Return `x A^T` for a factor A (r, i)."""
        if self._result is None or self._source is not x or self._factor is not factor:
            self._source, self._factor, self._result = x, factor, nn.functional.linear(x, factor)
        return self._result

    def clear(self) -> None:
        """Let go of the last tensors."""
        self._source = self._factor = self._result = None
