"""FacT-TK: all weights of a model as one tensor in Tucker form.

Shapes: d hidden size, r rank, n slices.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainers.adapters.method import kaiming_uniform_
from trainers.adapters.tucker import SharedSides, mixed_cores
from trainers.api import MethodCard, Setting


class FactTK(SharedSides):
    """`x ΔW_n^T = s dropout(x U Σ_n) V`, `Σ_n = Σ_c C[:, :, c] P[c, n]`; U (d, r), V (r, d), C (r, r, r), P (r, n) (arXiv 2212.03145).

    The tensor's slices are d x d; a larger matrix is several of them side by side, slice by slice. (The upstream file reshapes the
    slices of a feed-forward matrix with their index running fastest, which mixes their entries, and transposes those of the second.)
    Dropout acts on the code, between Σ_n and V. U starts as a linear layer's weight, C and P Xavier-uniform, V at zero.
    """

    card = MethodCard(
        name="fact_tk",
        family="tensor",
        reference="arXiv 2212.03145",
        source="JieShibo/PETL-ViT@546bde3 FacT/fact_tk.py",
        capacity=("rank",),
        settings={"s": Setting(1.0, doc="the free scaling factor s; 0.01 to 100 by data set in the published runs")},
        trains_at_start=("output_side",),
        packable=True,
        exports_lora=True,
    )
    drops_input = False

    def build_cores(self, count: int) -> None:
        """Create the core tensor C and the coefficients P of the slices."""
        self.core = nn.Parameter(torch.empty(self.rank, self.rank, self.rank))
        self.slice_factor = nn.Parameter(torch.empty(self.rank, count))

    def initialise(self, generator: torch.Generator, base: nn.Module) -> None:
        """Draw U, C and P; set V to zero."""
        kaiming_uniform_(self.input_side, self.slice_in, generator)
        nn.init.zeros_(self.output_side)
        nn.init.xavier_uniform_(self.core, generator=generator)
        nn.init.xavier_uniform_(self.slice_factor, generator=generator)

    def cores(self) -> Tensor:
        """Contract C with P, for all slices at once."""
        return mixed_cores(self.core, self.slice_factor)


METHOD = FactTK
