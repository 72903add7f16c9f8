"""The lanes of one joint pass, and which rows belong to whom.

Shapes: R rows of all lanes, K lanes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor

from trainers.packing.views import View


class Crew:
    """The lanes of one joint pass in the order of their rows.

    Attributes:
        views: of the lanes' models.
        sizes: rows of each.
        present: the lane whose own code runs; None while the base's does.
    """

    def __init__(self, views: Sequence[View], sizes: Sequence[int]) -> None:
        self.views, self.sizes, self.rows = tuple(views), tuple(sizes), sum(sizes)
        self.present: int | None = None
        self._source: Tensor | None = None
        self._parts: Sequence[Tensor] = ()

    def parts(self, x: Tensor) -> Sequence[Tensor]:
        """Return every lane's rows of a tensor (R, ...) as views: the same ones for all modules that read one tensor after another.

        Also of a lane that is alone: gradients of modules that read one tensor are then added up in the same order as in company.
        """
        if self._source is not x:
            self._source, self._parts = x, x.split(self.sizes_of(x))
        return self._parts

    def split(self, value: Any) -> Sequence[Any]:
        """Return every lane's part of an argument: rows of a tensor (R, ...), and anything else as it is."""
        if isinstance(value, Tensor) and value.dim() and len(value) % self.rows == 0:
            return self.parts(value)
        return [value] * len(self.sizes)

    def sizes_of(self, x: Tensor) -> list[int]:
        """Return how many rows of a tensor belong to each lane."""
        # Some modules see rows and tokens in one axis.
        factor = len(x) // self.rows
        return [size * factor for size in self.sizes]

    @contextmanager
    def aboard(self, lane: int) -> Iterator[None]:
        """Say that a lane's own code runs in a `with` block."""
        self.present = lane
        try:
            yield
        finally:
            self.present = None

    def clear(self) -> None:
        """Let go of the last tensors."""
        self._source, self._parts = None, ()
