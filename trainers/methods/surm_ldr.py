"""SURM with matrices of low displacement rank.

Shapes: B batch, T tokens, N maps, m terms, n size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainers.adapters.convolution import Cyclic, Negacyclic, toeplitz_matrix
from trainers.adapters.displacement import DisplacementProduct
from trainers.adapters.sites import Site
from trainers.adapters.structured import POSITION, TRAINABLE_ALPHA, StructuredMethod
from trainers.api import MethodCard


class SurmLdr(StructuredMethod):
    """`ΔW = Σ_t α_t C_t S_t` over m terms, C_t circulant and S_t skew-circulant (Sehanobish et al. 2024, arXiv 2406.17740).

    Z_1 ΔW - ΔW Z_{-1} has rank at most m (the displacement rank), where Z_f shifts down and puts f times what leaves in front. α_t is 1,
    or learned from 0 (`trainable_alpha`).

    Skew-circulant vectors start at N(0, 0.02²), circulant ones at zero; with `trainable_alpha` these are drawn too (upstream leaves
    both at zero, where no gradient ever leaves zero). Upstream's roots are those of x^{n+1} + 1 unless given; here of x^n + 1. In
    adapter position `h + gelu(Σ_t C_t S_t h) + bias`, by analogy: upstream has no such adapter.
    """

    card = MethodCard(
        name="surm_ldr",
        family="structured",
        reference="arXiv 2406.17740",
        source="arijitthegame/structured-matrices-PEFT@a28432f src/lora/general_ldr_lora.py",
        capacity=("rank",),
        settings={"position": POSITION, "trainable_alpha": TRAINABLE_ALPHA},
        trains_at_start=("circulant",),
        packable=True,
    )

    def build_maps(self, base: nn.Module) -> None:
        """Create two vectors per term."""
        size = self.square_size(base)
        self.rank = self.rank_within("rank", size, "the displacement rank of a full matrix, its size")
        self.cyclic, self.negacyclic = Cyclic(size), Negacyclic(size)
        self.circulant = nn.Parameter(torch.empty(len(self.sites), self.rank, size))
        self.skew_circulant = nn.Parameter(torch.empty(len(self.sites), self.rank, size))

    def alpha_shape(self) -> tuple[int, ...]:
        """Return one factor per term."""
        return len(self.sites), self.rank, 1

    def initialise_maps(self, generator: torch.Generator) -> None:
        """Draw the skew-circulant vectors; set the circulant ones to zero."""
        self.draw(self.skew_circulant, 0.02, generator)
        self.draw_last(self.circulant, 0.02, generator)

    def prepare(self) -> None:
        """Transform the kernels of all maps at once."""
        super().prepare()
        self._columns_Nmn = self.factor() * self.circulant
        circulant, skew = self.cyclic.spectrum(self._columns_Nmn), self.negacyclic.spectrum(self.skew_circulant)
        self._kernels = list(zip(circulant.unbind(), skew.unbind(), strict=True))

    def product(self, x_BTi: Tensor, site: Site) -> Tensor:
        """Return `Σ_t C_t (S_t x)`; the sum is taken over frequencies."""
        circulant, skew = self._kernels[self.index[site]]
        product: Tensor = DisplacementProduct.apply(x_BTi, circulant, skew, self.cyclic, self.negacyclic)  # type: ignore[no-untyped-call]
        return product

    def matrix(self, site: Site) -> Tensor:
        """Return the sum of the products."""
        index = self.index[site]
        total = self.circulant.new_zeros(self.cyclic.size, self.cyclic.size)
        for column, skew in zip(self._columns_Nmn[index], self.skew_circulant[index], strict=True):
            total += toeplitz_matrix(torch.cat([column[1:], column])) @ toeplitz_matrix(torch.cat([-skew[1:], skew]))
        return total


METHOD = SurmLdr
