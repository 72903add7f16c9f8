"""IA3: learned factors on activations.

Shapes: B batch, T tokens, i in_features, o out_features.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn

from trainers.adapters.method import Method, Side
from trainers.adapters.sites import Site
from trainers.api import MethodCard

INPUT_ROLES = ("down", "fc2")
"""Roles whose input is scaled: the inner activation of the feed-forward part."""


class Ia3(Method):
    """`y = l ⊙ (W x + b)`, and `y = W (l ⊙ x) + b` for the second feed-forward matrix (Liu et al. 2022, arXiv 2205.05638, section 3.3).

    One vector l per matrix, ones at first; there is no scaling and no dropout. The definition names keys, values and the inner activation
    of the feed-forward part; a sweep's other targets are scaled at their output.
    """

    card = MethodCard(
        name="ia3",
        draws=False,
        family="scaling",
        reference="arXiv 2205.05638",
        source="peft 0.21.2 tuners/ia3/layer.py",
        default_targets=("k", "v", *INPUT_ROLES),
        reads=("learning_rate",),
        packable=True,
    )
    drops_input: ClassVar[bool] = False

    def build(self, base: nn.Module) -> None:
        """Create one vector per site: of the input's width for the second feed-forward matrix, else of the output's."""
        widths = {s.key: s.in_features if s.role in INPUT_ROLES else s.out_features for s in self.sites}
        self.factor = nn.ParameterDict({key: torch.empty(width) for key, width in widths.items()})

    def initialise(self, generator: torch.Generator, base: nn.Module) -> None:
        """Set all factors to one; nothing is drawn."""
        for factor in self.factor.values():
            nn.init.ones_(factor)

    def sides(self, site: Site) -> tuple[Side, ...]:
        """Return the side that the vector scales."""
        return ("input",) if site.role in INPUT_ROLES else ("output",)

    def enter(self, x_BTi: Tensor, site: Site) -> Tensor:
        """Return `l ⊙ x`."""
        return torch.mul(x_BTi, self.factor[site.key])

    def transform(self, x_BTi: Tensor, y_BTo: Tensor, site: Site) -> Tensor:
        """Return `l ⊙ y`, in the vector's precision."""
        return torch.mul(y_BTo, self.factor[site.key])

    def merged(self, base: nn.Module) -> dict[str, Tensor]:
        """Return the matrices with scaled columns, or with scaled rows and biases."""
        changed: dict[str, Tensor] = {}
        for site in self.sites:
            for leaf, own in base.get_submodule(site.path).named_parameters():
                if site.role not in INPUT_ROLES:
                    shape = (-1, 1) if leaf == "weight" else (-1,)
                elif leaf == "weight":
                    shape = (1, -1)
                else:
                    continue
                changed[f"{site.path}.{leaf}"] = (own * self.factor[site.key].view(shape)).to(own.dtype)
        return changed


METHOD = Ia3
