"""Aurora: mode approximation of the tensor of all weights.

Shapes: d hidden size, r rank, n slices.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainers.adapters.method import kaiming_uniform_
from trainers.adapters.tucker import SharedSides, mixed_cores
from trainers.api import MethodCard, Setting


class Aurora(SharedSides):
    """`x ΔW_n^T = x U Σ_n V` with U (d, r) and V (r, d) shared by all slices (arXiv 2305.08381).

    Variant `cp`: `Σ_n = diag(λ ⊙ p_n)`, a CP form with λ (r) and one p_n (r) for each slice. This is the paper's form as its counts
    and later literature give it; the paper's own text was not at hand [unverified]. Variant `tk`, the published code:
    `Σ_n = Σ_c C[:, :, c] p_n[c]` with a core C (r, r, r), as in FacT-TK. Only this part of Aurora acts on a text model: its gates
    belong to cross-modal layers. The code has no scaling factor.

    U starts as a linear layer's weight, C and every p_n Xavier-uniform (p_n as a column of its own), V at zero; λ at one [unverified].
    Dropout acts on the code: before Σ_n in the text encoder's file, after it in the image encoder's.
    """

    card = MethodCard(
        name="aurora",
        family="tensor",
        reference="arXiv 2305.08381",
        source="WillDreamer/Aurora@1b189ae CP/med.py, CP/vit.py",
        capacity=("rank",),
        settings={
            "variant": Setting("cp", ("cp", "tk"), "`cp`: diagonal cores, the paper's form [unverified]; `tk`: the published code's core"),
            "dropout_position": Setting("before_core", ("before_core", "after_core"), "as in CP/med.py (text) or CP/vit.py (images)"),
        },
        default_targets=("q", "k", "v"),
        trains_at_start=("output_side",),
        packable=True,
        exports_lora=True,
    )
    drops_input = False

    def build_cores(self, count: int) -> None:
        """Create λ or the core tensor C, and the coefficients p_n as the columns of one parameter (r, n)."""
        shape = (self.rank,) if self.settings["variant"] == "cp" else (self.rank,) * 3
        self.core = nn.Parameter(torch.empty(shape))
        self.slice_factor = nn.Parameter(torch.empty(self.rank, count))

    def initialise(self, generator: torch.Generator, base: nn.Module) -> None:
        """Draw U, C and p_n; set λ to one and V to zero."""
        kaiming_uniform_(self.input_side, self.slice_in, generator)
        nn.init.zeros_(self.output_side)
        if self.core.dim() == 1:
            nn.init.ones_(self.core)
        else:
            nn.init.xavier_uniform_(self.core, generator=generator)
        kaiming_uniform_(self.slice_factor, self.rank + 1, generator, a=0)

    def cores(self) -> Tensor:
        """Return the diagonal cores, or contract C with all p_n at once."""
        if self.core.dim() == 1:
            return torch.diag_embed((self.core[:, None] * self.slice_factor).T)
        return mixed_cores(self.core, self.slice_factor)

    def mixed(self, entered_BTr: Tensor, core: Tensor) -> Tensor:
        """Return `(x U) Σ` with dropout on the side of Σ that the setting names."""
        if self.settings["dropout_position"] == "before_core":
            return self.drop(entered_BTr) @ core
        return super().mixed(entered_BTr, core)


METHOD = Aurora
