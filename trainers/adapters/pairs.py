"""What methods share that train a pair of LoRA factors at every site.

Shapes: i in_features, o out_features, r rank.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainers.adapters.method import Method, kaiming_uniform_
from trainers.adapters.sites import Site


class PairMethod(Method):
    """A method with `ΔW = (α/r) B A` at every site, A (r, i) and B (o, r), as a starting point (Hu et al. 2021, arXiv 2106.09685, eq. 3).

    A starts Kaiming-uniform (a=√5), B zero. A subclass declares the capacity `rank` and the setting `alpha`.

    Attributes:
        rank: r.
        scaling: α/r, times the sweep's scale.
        down: A by site.
        up: B by site.
    """

    def build(self, base: nn.Module) -> None:
        """Create one pair of factors per site."""
        smallest = min(min(s.in_features, s.out_features) for s in self.sites)
        self.rank = self.rank_within("rank", smallest, "the smaller side of the smallest adapted matrix")
        self.scaling = self.scale * self.settings["alpha"] / self.rank
        self.down = nn.ParameterDict({s.key: torch.empty(self.rank, s.in_features) for s in self.sites})
        self.up = nn.ParameterDict({s.key: torch.empty(s.out_features, self.rank) for s in self.sites})

    def initialise(self, generator: torch.Generator, base: nn.Module) -> None:
        """Draw A site by site; set B to zero."""
        for site in self.sites:
            kaiming_uniform_(self.down[site.key], site.in_features, generator)
            nn.init.zeros_(self.up[site.key])

    def factors(self, site: Site) -> tuple[Tensor, Tensor]:
        """Return A and (α/r) B."""
        return self.down[site.key], self.scaling * self.up[site.key]
