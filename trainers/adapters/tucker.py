"""Tucker forms: one tensor for the updates of all matrices, with shared sides and a small core for each.

Shapes: B batch, T tokens, i and o sides of a slice, r rank, n slices in all, k blocks on a matrix's input, l on its output.
"""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

import torch
from torch import Tensor, nn

from search_spaces.errors import NotApplicableError
from trainers.adapters.method import Method
from trainers.adapters.shared_product import SharedProduct
from trainers.adapters.sites import Site, find_sites, roles_of


class SharedSides(Method):
    """`x ΔW^T = s (x U Σ) V` with U (i, r) and V (r, o) shared by all matrices, and cores Σ of their own.

    A matrix k times as wide and l times as high as a slice is cut into k x l slices: its core is (k r, l r), U acts on each of the k
    blocks of the input and V gives each of the l blocks of the output. A subclass gives the slices' shape and their cores.
    """

    cuts_matrices: ClassVar[bool] = True
    """Whether larger matrices are cut into slices; otherwise each is one slice."""
    slice_origin: ClassVar[str] = "the hidden size on both sides"
    """What the slices' shape is, for messages."""

    def build(self, base: nn.Module) -> None:
        """Create the shared sides, then the cores.

        Raises:
            CapacityError: a rank above the smaller side of a slice.
            NotApplicableError: a matrix that is not made of whole slices.
        """
        self.slice_in, self.slice_out = self.slice_shape(base)
        for site in self.sites:
            if not self._holds(site):
                self._refuse(base, site)
        self.rank = self.rank_within("rank", min(self.slice_in, self.slice_out), "the smaller side of the shared factors")
        self.blocks = {s: (s.in_features // self.slice_in, s.out_features // self.slice_out) for s in self.sites}
        self.slices = [inputs * outputs for inputs, outputs in self.blocks.values()]
        self.scaling = self.scale * self.default_scaling()
        self.input_side = nn.Parameter(torch.empty(self.rank, self.slice_in))
        self.output_side = nn.Parameter(torch.empty(self.slice_out, self.rank))
        self._product = SharedProduct()
        self.build_cores(sum(self.slices))

    # ------------------------------------------------------------------------------------------------ to be implemented

    def slice_shape(self, base: nn.Module) -> tuple[int, int]:
        """Return the sides (i, o) of a slice; by default the hidden size."""
        config: Any = base.config
        return config.hidden_size, config.hidden_size

    def default_scaling(self) -> float:
        """Return s: by default the setting of that name, or 1."""
        return float(self.settings.get("s", 1.0))

    def build_cores(self, count: int) -> None:
        """Create the parameters of `count` cores."""
        raise NotImplementedError

    def cores(self) -> Tensor:
        """Return the cores (n, r, r), those of a matrix one after the other, by blocks of its input, then of its output."""
        raise NotImplementedError

    def mixed(self, entered_BTr: Tensor, core: Tensor) -> Tensor:
        """Return `(x U) Σ`; dropout that does not act on the input acts on this code, unless a subclass puts it elsewhere."""
        return self.drop(entered_BTr @ core)

    # --------------------------------------------------------------------------------------------------------- the update

    def prepare(self) -> None:
        """Work out all cores at once, and the scaled output side."""
        self._product.clear()
        parts = self.cores().split(self.slices)
        self._cores = {site: self._joined(part, *self.blocks[site]) for site, part in zip(self.sites, parts, strict=True)}
        self._scaled_or = self.scaling * self.output_side

    def release(self) -> None:
        """Let go of the last product."""
        self._product.clear()

    def code(self, x_BTi: Tensor, site: Site) -> tuple[Tensor, Tensor]:
        """Return `x U Σ`, (B, T, r) or (B, T, l, r), and the scaled V^T."""
        code_BTr = self.mixed(self._entered(x_BTi, site), self._cores[site])
        outputs = self.blocks[site][1]
        return code_BTr if outputs == 1 else code_BTr.unflatten(-1, (outputs, self.rank)), self._scaled_or

    def _entered(self, x_BTi: Tensor, site: Site) -> Tensor:
        inputs = self.blocks[site][0]
        if inputs == 1:
            return self._product(x_BTi, self.input_side)
        return nn.functional.linear(x_BTi.unflatten(-1, (inputs, self.slice_in)), self.input_side).flatten(-2)

    def factors(self, site: Site) -> tuple[Tensor, Tensor]:
        """Return the LoRA factors of one matrix; their rank is the smaller of k r and l r."""
        inputs, outputs = self.blocks[site]
        core = self._cores[site]
        entering, leaving = torch.block_diag(*[self.input_side] * inputs), torch.block_diag(*[self._scaled_or] * outputs)
        return (entering, leaving @ core.T) if inputs <= outputs else (core.T @ entering, leaving)

    def _joined(self, part: Tensor, inputs: int, outputs: int) -> Tensor:
        if inputs == outputs == 1:
            return part.squeeze(0)
        blocks = part.view(inputs, outputs, self.rank, self.rank).transpose(1, 2)
        return blocks.reshape(inputs * self.rank, outputs * self.rank)

    # ----------------------------------------------------------------------------------------------------------- refusals

    def _holds(self, site: Site) -> bool:
        whole = site.in_features % self.slice_in == 0 and site.out_features % self.slice_out == 0
        return whole and (self.cuts_matrices or (site.in_features, site.out_features) == (self.slice_in, self.slice_out))

    def _refuse(self, base: nn.Module, site: Site) -> NoReturn:
        fitting = [role for role in roles_of(base) if all(self._holds(s) for s in find_sites(base, [role]))]
        raise NotApplicableError(
            f"{self.card.name} shares its factors among matrices of {'whole slices' if self.cuts_matrices else 'one shape'}, "
            f"{self.slice_out} x {self.slice_in} ({self.slice_origin}); {site.path} is {site.out_features} x {site.in_features}. "
            + (f"Fix: targets: [{', '.join(fitting)}]" if fitting else "No matrix of this base is of that kind")
        )


def mixed_cores(core_rrr: Tensor, mode_rn: Tensor) -> Tensor:
    """Return the cores (n, r, r) `Σ_c C[:, :, c] P[c, n]` of all slices, as one matrix product."""
    return (mode_rn.T @ core_rrr.flatten(0, 1).T).view(-1, *core_rrr.shape[:2])
