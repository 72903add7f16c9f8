"""Methods that train parameters of the base as they are, and add nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trainers.adapters.copies import ParameterCopies, in_head
from trainers.adapters.method import Method


class TrainedCopies(Method):
    """Trains fp32 copies of parameters of the base's body; each forward pass runs on them, cast to the base's dtype.

    The base itself is never written to, so it is bit-identical afterwards. The head has copies of its own, as for every method.
    A subclass chooses the parameters.
    """

    copies: ParameterCopies

    @classmethod
    def roles(cls, targets: Sequence[str], settings: Mapping[str, Any], present: Sequence[str]) -> tuple[str, ...]:
        """Return none: the parameters are trained wherever they are."""
        return ()

    def chosen(self, names: Sequence[str], base: nn.Module) -> Sequence[str]:
        """Return which parameters of the body are trained."""
        return names

    def build(self, base: nn.Module) -> None:
        """Make room for one copy of each parameter."""
        own = dict(base.named_parameters())
        self.copies = ParameterCopies(own, self.chosen([name for name in own if not in_head(name)], base))

    def initialise(self, generator: torch.Generator, base: nn.Module) -> None:
        """Copy the base's values; nothing is drawn."""
        self.copies.take(dict(base.named_parameters()))

    def stored(self) -> dict[str, Tensor]:
        """Return the copies under the base's own names."""
        return {name: copy.detach() for name, copy in self.copies.named().items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `stored` returned."""
        self.copies.restore(state)
