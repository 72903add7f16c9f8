"""LoTR: a Tucker-2 form over the stack of all adapted matrices.

Shapes: i in_features, o out_features, r rank, n matrices.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainers.adapters.tucker import SharedSides
from trainers.api import MethodCard, Setting


class Lotr(SharedSides):
    """`x ΔW_n^T = (α/r) x R G_n L` with R (i, r) and L (r, o) shared by all matrices, G_n (r, r) of each (arXiv 2402.01376).

    R and L start at N(0, 1), the cores G_n at zero, the upstream default; its initialisations from a decomposition of the base's
    weights are left out. The matrices must have one shape.
    """

    card = MethodCard(
        name="lotr",
        family="tensor",
        reference="arXiv 2402.01376",
        source="daskol/lotr@b8776bd lotr/lotr.py",
        capacity=("rank",),
        settings={"alpha": Setting(1.0, doc="numerator of the scaling α/r; `scale` upstream, where 1 is the default")},
        trains_at_start=("core",),
        packable=True,
        exports_lora=True,
    )
    cuts_matrices = False
    slice_origin = "the shape of the first matrix"

    def slice_shape(self, base: nn.Module) -> tuple[int, int]:
        """Return the shape that all adapted matrices have."""
        return self.sites[0].in_features, self.sites[0].out_features

    def default_scaling(self) -> float:
        """Return α/r."""
        return float(self.settings["alpha"]) / self.rank

    def build_cores(self, count: int) -> None:
        """Create the cores (n, r, r) as one parameter."""
        self.core = nn.Parameter(torch.empty(count, self.rank, self.rank))

    def initialise(self, generator: torch.Generator, base: nn.Module) -> None:
        """Draw the shared factors; set the cores to zero."""
        nn.init.normal_(self.input_side, generator=generator)
        nn.init.normal_(self.output_side, generator=generator)
        nn.init.zeros_(self.core)

    def cores(self) -> Tensor:
        """Return the cores as they are."""
        return self.core


METHOD = Lotr
