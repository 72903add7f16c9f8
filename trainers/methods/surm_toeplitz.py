"""SURM with Toeplitz matrices.

Shapes: B batch, T tokens, N maps, n size, p parameters of one Toeplitz matrix.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from trainers.adapters.convolution import Padded, SharedSpectrum, toeplitz_matrix, toeplitz_spectrum
from trainers.adapters.sites import Site
from trainers.adapters.structured import POSITION, TRAINABLE_ALPHA, StructuredMethod
from trainers.api import MethodCard, Setting


class SurmToeplitz(StructuredMethod):
    """`ΔW = α T(b) T(a)`, the product of two Toeplitz matrices (Sehanobish et al. 2024, arXiv 2406.17740).

    T(v)[p, q] depends on p - q alone. `symmetric` (upstream): T = T^T, v is its first column (n); `skew`: T = -T^T, the first column
    below its zero (n - 1); `general`: all diagonals from the upper right to the lower left corner (2n - 1). Upstream trains symmetric
    ones only; the other two are products of the same form.

    a starts at N(0, 0.02²), b at zero; with `trainable_alpha` b is drawn too, since α starts at zero (upstream leaves both at zero,
    where no gradient ever leaves zero). In adapter position `h + gelu(T(b) T(a) h) + bias`, upstream's general adapter.
    """

    card = MethodCard(
        name="surm_toeplitz",
        family="structured",
        reference="arXiv 2406.17740",
        source="arijitthegame/structured-matrices-PEFT@a28432f src/lora/toeplitz_lora.py, src/adapter/toeplitz_adapter.py",
        settings={
            "variant": Setting("symmetric", ("symmetric", "skew", "general"), "which Toeplitz matrices"),
            "position": POSITION,
            "trainable_alpha": TRAINABLE_ALPHA,
        },
        trains_at_start=("vector_b",),
        packable=True,
    )

    def build_maps(self, base: nn.Module) -> None:
        """Create the diagonals of two matrices per map."""
        size, count = self.square_size(base), len(self.sites)
        diagonals = {"symmetric": size, "skew": size - 1, "general": 2 * size - 1}[self.settings["variant"]]
        self.spectrum_of = SharedSpectrum(Padded(size))
        self.vector_a = nn.Parameter(torch.empty(count, diagonals))
        self.vector_b = nn.Parameter(torch.empty(count, diagonals))

    def initialise_maps(self, generator: torch.Generator) -> None:
        """Draw a; set b to zero."""
        self.draw(self.vector_a, 0.02, generator)
        self.draw_last(self.vector_b, 0.02, generator)

    def prepare(self) -> None:
        """Transform the kernels of all maps at once."""
        super().prepare()
        self._first, self._second = self._diagonals(self.vector_a), self._diagonals(self.factor() * self.vector_b)
        first, second = toeplitz_spectrum(torch.stack([self._first, self._second]))
        self._kernels = list(zip(first.unbind(), second.unbind(), strict=True))

    def _diagonals(self, vector_Np: Tensor) -> Tensor:
        """Return all diagonals (N, 2 n - 1), from the upper right corner to the lower left."""
        if self.settings["variant"] == "symmetric":
            return torch.cat([vector_Np.flip(-1)[:, :-1], vector_Np], -1)
        if self.settings["variant"] == "skew":
            return torch.cat([-vector_Np.flip(-1), torch.zeros_like(vector_Np[:, :1]), vector_Np], -1)
        return vector_Np

    def release(self) -> None:
        """Let go of the input's spectrum."""
        self.spectrum_of.clear()

    def product(self, x_BTi: Tensor, site: Site) -> Tensor:
        """Return `T(b) (T(a) x)`, each as a convolution cut to n elements."""
        transform = self.spectrum_of.transform
        first, second = self._kernels[self.index[site]]
        between_BTi = transform.signal(self.spectrum_of(x_BTi) * first)
        return transform.signal(transform.spectrum(between_BTi) * second)

    def matrix(self, site: Site) -> Tensor:
        """Return the product of the two matrices."""
        index = self.index[site]
        return toeplitz_matrix(self._second[index]) @ toeplitz_matrix(self._first[index])


METHOD = SurmToeplitz
