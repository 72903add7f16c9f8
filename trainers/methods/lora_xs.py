"""LoRA-XS: a small trained matrix between frozen singular vectors of the base's weights.

Shapes: B batch, T tokens, i in_features, o out_features, r rank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trainers.adapters.frozen import FrozenTensors
from trainers.adapters.method import Method
from trainers.adapters.sites import Site
from trainers.adapters.spectrum import leading_spectrum
from trainers.api import MethodCard, Setting


class LoraXs(Method):
    """`ΔW = (α/r) U R diag(σ) V^T` with R (r, r) trained (Bałazy et al. 2024, arXiv 2405.17604, section 3).

    U (o, r), σ and V (i, r) are the r leading singular triplets of W, frozen; the singular values stand on the input side, as in the
    authors' code. R starts at N(0, (1e-5)²). The decomposition is cached and never stored with the adapter: it is taken from the base
    again. Its signs are fixed here; the authors' randomised decomposition with ten iterations leaves them to chance.

    The default targets are the authors': all seven matrices on LLaMA-like models; q, v, o and fc2 on encoders, and on OPT, whose matrices
    are the same.
    """

    card = MethodCard(
        name="lora_xs",
        family="low-rank",
        reference="arXiv 2405.17604",
        source="MohammadrezaBanaei/LoRA-XS@e50b1a8 utils",
        capacity=("rank",),
        settings={"alpha": Setting(16.0, doc="numerator of the scaling α/r; 16 in the GLUE runs, 64 at r=32 for commonsense reasoning")},
        default_targets=("q", "k", "v", "o", "gate", "up", "down", "fc2"),
        trains_at_start=("core.*",),
        starts_as="near",
        base_weights="read_at_start",
        packable=True,
        exports_lora=True,
    )

    @classmethod
    def roles(cls, targets: Sequence[str], settings: Mapping[str, Any], present: Sequence[str]) -> tuple[str, ...]:
        """Return the sweep's targets, else the authors' for this kind of architecture."""
        own = super().roles(targets, settings, present)
        return own if targets or "gate" in present else tuple(role for role in own if role != "k")

    def build(self, base: nn.Module) -> None:
        """Create one R per site."""
        smallest = min(min(s.in_features, s.out_features) for s in self.sites)
        self.rank = self.rank_within("rank", smallest, "the smaller side of the smallest adapted matrix")
        self.scaling = self.scale * self.settings["alpha"] / self.rank
        self.core = nn.ParameterDict({s.key: torch.empty(self.rank, self.rank) for s in self.sites})
        self.down, self.up = FrozenTensors(), FrozenTensors()

    def initialise(self, generator: torch.Generator, base: nn.Module) -> None:
        """Draw R, and take the singular vectors from the base."""
        for site in self.sites:
            self.core[site.key].data.normal_(0, 1e-5, generator=generator)
            spectrum = leading_spectrum(base.get_parameter(f"{site.path}.weight"), self.rank)
            self.down[site.key] = spectrum.values_r[:, None] * spectrum.right_ri
            self.up[site.key] = spectrum.left_or

    def factors(self, site: Site) -> tuple[Tensor, Tensor]:
        """Return diag(σ) V^T and (α/r) U R."""
        return self.down[site.key], self.up[site.key] @ (self.scaling * self.core[site.key])

    def code(self, x_BTi: Tensor, site: Site) -> tuple[Tensor, Tensor]:
        """Return `(α/r) R diag(σ) V^T x` and U: R acts in the middle, so that no gradient is larger than R."""
        hidden_BTr = nn.functional.linear(x_BTi, self.down[site.key])
        return nn.functional.linear(hidden_BTr, self.scaling * self.core[site.key]), self.up[site.key]


METHOD = LoraXs
