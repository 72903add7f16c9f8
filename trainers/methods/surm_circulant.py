"""SURM with circulant matrices.

Shapes: B batch, T tokens, N maps, n size.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainers.adapters.convolution import Cyclic, Negacyclic, SharedSpectrum, toeplitz_matrix
from trainers.adapters.sites import Site
from trainers.adapters.structured import POSITION, TRAINABLE_ALPHA, StructuredMethod
from trainers.api import MethodCard, Setting


class SurmCirculant(StructuredMethod):
    """`ΔW = α circ(a ⊙ b)`, a circulant matrix with first column a ⊙ b (Sehanobish et al. 2024, arXiv 2406.17740).

    circ(v)[p, q] = v[(p - q) mod n]; the variant `skew_circulant` negates what wraps around. Products go through Fourier transforms of
    explicit length (upstream's inverse is wrong for odd n) with roots of x^n + 1 (upstream: of x^{n+1} + 1, unless given).

    a starts at N(0, 1), b at zero. With `trainable_alpha` upstream starts both b and α at zero, so that no gradient ever leaves zero:
    here b is drawn like a. In adapter position `h + gelu(circ(a ⊙ b) h) + bias`, with a at N(0, 0.02²).
    """

    card = MethodCard(
        name="surm_circulant",
        family="structured",
        reference="arXiv 2406.17740",
        source="arijitthegame/structured-matrices-PEFT@a28432f src/lora/circulant_lora.py, src/adapter/circulant_adapter.py",
        settings={
            "variant": Setting("circulant", ("circulant", "skew_circulant"), "sign of what wraps around"),
            "position": POSITION,
            "trainable_alpha": TRAINABLE_ALPHA,
        },
        trains_at_start=("vector_b",),
        packable=True,
    )

    def build_maps(self, base: nn.Module) -> None:
        """Create two vectors per map."""
        size, count = self.square_size(base), len(self.sites)
        self.spectrum_of = SharedSpectrum((Cyclic if self.settings["variant"] == "circulant" else Negacyclic)(size))
        self.vector_a = nn.Parameter(torch.empty(count, size))
        self.vector_b = nn.Parameter(torch.empty(count, size))

    def initialise_maps(self, generator: torch.Generator) -> None:
        """Draw a; set b to zero."""
        self.draw(self.vector_a, 1.0, generator)
        self.draw_last(self.vector_b, 1.0, generator)

    def prepare(self) -> None:
        """Transform the kernels of all maps at once."""
        super().prepare()
        self._columns_Nn = self.factor() * self.vector_a * self.vector_b
        self._kernels = self.spectrum_of.transform.spectrum(self._columns_Nn).unbind()

    def release(self) -> None:
        """Let go of the input's spectrum."""
        self.spectrum_of.clear()

    def product(self, x_BTi: Tensor, site: Site) -> Tensor:
        """Return the cyclic or negacyclic convolution of x with the kernel."""
        return self.spectrum_of.transform.signal(self.spectrum_of(x_BTi) * self._kernels[self.index[site]])

    def matrix(self, site: Site) -> Tensor:
        """Return the circulant or skew-circulant matrix."""
        column_n = self._columns_Nn[self.index[site]]
        wrapped_n = column_n[1:] if self.settings["variant"] == "circulant" else -column_n[1:]
        return toeplitz_matrix(torch.cat([wrapped_n, column_n]))


METHOD = SurmCirculant
