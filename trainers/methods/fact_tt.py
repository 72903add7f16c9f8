"""FacT-TT: all weights of a model as one tensor in tensor-train form.

Shapes: d hidden size, r rank, n slices.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainers.adapters.method import kaiming_uniform_
from trainers.adapters.tucker import SharedSides
from trainers.api import MethodCard, Setting


class FactTT(SharedSides):
    """`x ΔW_n^T = s dropout(x U Σ_n) V` with U (d, r) and V (r, d) shared, Σ_n (r, r) of each slice (arXiv 2212.03145).

    The tensor's slices are d x d; a larger matrix is several of them side by side, as upstream cuts the feed-forward matrices of a
    vision transformer into four. Dropout acts on the code, between Σ_n and V. U and every Σ start as a linear layer's weight, V at zero.
    """

    card = MethodCard(
        name="fact_tt",
        family="tensor",
        reference="arXiv 2212.03145",
        source="JieShibo/PETL-ViT@c43d6d6 FacT/fact_tt.py",
        capacity=("rank",),
        settings={"s": Setting(1.0, doc="the free scaling factor s; 0.01 to 100 by data set in the published runs")},
        trains_at_start=("output_side",),
        packable=True,
        exports_lora=True,
    )
    drops_input = False

    def build_cores(self, count: int) -> None:
        """Create the cores (n, r, r) as one parameter."""
        self.core = nn.Parameter(torch.empty(count, self.rank, self.rank))

    def initialise(self, generator: torch.Generator, base: nn.Module) -> None:
        """Draw U, then the cores matrix by matrix, whose fan-in is k r over k blocks of input; set V to zero."""
        kaiming_uniform_(self.input_side, self.slice_in, generator)
        nn.init.zeros_(self.output_side)
        for part, (inputs, _) in zip(self.core.detach().split(self.slices), self.blocks.values(), strict=True):
            kaiming_uniform_(part, inputs * self.rank, generator)

    def cores(self) -> Tensor:
        """Return the cores as they are."""
        return self.core


METHOD = FactTT
