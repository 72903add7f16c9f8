"""What an attached method does at one module of the base.

Shapes: B batch, T tokens, i in_features, o out_features.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainers.adapters.method import Method
from trainers.adapters.sites import Site


class AdapterDropout(nn.Module):
    """Dropout on an adapter's input, drawn from its own generator, so that it never disturbs another random stream."""

    def __init__(self, probability: float, generator: torch.Generator) -> None:
        super().__init__()
        self.probability = probability
        self.generator = generator

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` with elements zeroed and the rest scaled up, in training; `x` itself in evaluation."""
        if not self.training or self.probability == 0:
            return x
        keep = 1 - self.probability
        return x * torch.empty_like(x).bernoulli_(keep, generator=self.generator).div_(keep)


class SharedCast:
    """Casts an adapter's input, once for all the matrices that read the same tensor (q, k and v; gate and up)."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._source: Tensor | None = None
        self._result: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Return `x` in the adapter's dtype."""
        if x.dtype == self.dtype:
            return x
        if self._result is None or self._source is not x:
            self._source, self._result = x, x.to(self.dtype)
        return self._result

    def clear(self) -> None:
        """Let go of the last tensor."""
        self._source = self._result = None


@dataclass(frozen=True)
class Adaptation:
    """What a method does at one module: the sides that it leaves alone are None.

    Attributes:
        method: the method that acts there.
        site: the matrix that it acts for.
        cast: brings an input to the adapter's dtype, once for all modules that read the same tensor.
        dropout: acts on the adapter's input; None where there is none, or the method applies it itself.
        enter: returns what takes the place of the module's input, from that input.
        transform: returns the adapted output, from the module's input and its output, which may be overwritten.
    """

    method: Method
    site: Site
    cast: SharedCast
    dropout: AdapterDropout | None
    enter: Callable[[Tensor], Tensor] | None
    transform: Callable[[Tensor, Tensor], Tensor] | None

    @classmethod
    def of(cls, method: Method, site: Site, cast: SharedCast, dropout: AdapterDropout | None) -> Adaptation:
        """Return what a method does at the module that stands for a site."""

        def enter(x_BTi: Tensor) -> Tensor:
            return method.enter(cast(x_BTi), site).to(x_BTi.dtype)

        def transform(x_BTi: Tensor, y_BTo: Tensor) -> Tensor:
            x_BTi = cast(x_BTi)
            return method.transform(x_BTi if dropout is None else dropout(x_BTi), y_BTo, site).to(y_BTo.dtype)

        sides = method.sides(site)
        return cls(method, site, cast, dropout, enter if "input" in sides else None, transform if "output" in sides else None)
