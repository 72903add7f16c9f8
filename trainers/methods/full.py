"""Full fine-tuning: every parameter of the base."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trainers.adapters.copies import ParameterCopies, in_head
from trainers.adapters.method import Method
from trainers.api import MethodCard


class Full(Method):
    """Trains fp32 copies of all parameters; each forward pass runs on them, cast to the base's dtype.

    The base itself is never written to, so it is bit-identical afterwards. Tied parameters stay tied: they have one copy.
    """

    card = MethodCard(
        name="full",
        draws=False,
        family="full",
        reference="arXiv 1710.03740",
        source="fp32 master weights as in section 3.1 of the reference",
        default_targets=(),
        reads=("learning_rate",),
    )

    @classmethod
    def roles(cls, targets: Sequence[str], settings: Mapping[str, Any], present: Sequence[str]) -> tuple[str, ...]:
        """Return none: the whole base is replaced."""
        return ()

    def build(self, base: nn.Module) -> None:
        """Make room for one copy of each parameter; the head has copies of its own, as for every method."""
        own = dict(base.named_parameters())
        self.copies: ParameterCopies = ParameterCopies(own, [name for name in own if not in_head(name)])

    def initialise(self, generator: torch.Generator, base: nn.Module) -> None:
        """Copy the base's values; nothing is drawn."""
        self.copies.take(dict(base.named_parameters()))

    def stored(self) -> dict[str, Tensor]:
        """Return the copies under the base's own names."""
        return {name: copy.detach() for name, copy in self.copies.named().items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `stored` returned."""
        self.copies.restore(state)


METHOD = Full
