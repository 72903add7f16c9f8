"""The reference of every board: the base model as it is."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from search_spaces.trial import BASE
from trainers.adapters.method import Method
from trainers.api import MethodCard


class Untuned(Method):
    """No adapter, no parameters, no training."""

    card = MethodCard(name=BASE, family="reference", reference="-", source="-", reads=())

    def build(self, base: nn.Module) -> None:
        """Create nothing."""

    def initialise(self, generator: object, base: nn.Module) -> None:
        """Draw nothing."""

    def head_names(self, names: Sequence[str]) -> Sequence[str]:
        """Leave the head as it is, too."""
        return ()

    def install(self, base: nn.Module, adapt: object) -> None:
        """Attach to no site."""
