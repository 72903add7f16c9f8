"""MELoRA: several small LoRAs side by side, each on its own slice of input and output.

Shapes: B batch, T tokens, i in_features, o out_features, n blocks, r rank of a block.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from search_spaces.errors import CapacityError
from trainers.adapters.method import Method, kaiming_uniform_
from trainers.adapters.sites import Site
from trainers.api import MethodCard, Setting


class Melora(Method):
    """`ΔW = blockdiag((α/r) B_j A_j)` with A_j (r, i/n) and B_j (o/n, r) for n blocks (Ren et al. 2024, arXiv 2402.17263, eq. 3).

    The update has rank n r with the parameters of rank r. All blocks of a site are multiplied at once. Dropout is independent per block,
    as published: it is drawn for every element of the input, and no two blocks share one. A starts Kaiming-uniform (a=√5) over the i/n
    inputs of its block, B at zero. The published merge refers to blocks that it does not hold; merging here forms the block-diagonal
    matrix.
    """

    card = MethodCard(
        name="melora",
        family="low-rank",
        reference="arXiv 2402.17263",
        source="ChasonShi/MELoRA@4ebb8b4 peft-0.5.0/src/peft/tuners/melora.py",
        capacity=("rank", "blocks"),
        capacity_defaults={"blocks": 2},  # as in the published GLUE runs
        settings={"alpha": Setting(16.0, doc="numerator of the scaling α/r")},
        trains_at_start=("up.*",),
        packable=True,
        exports_lora=True,
    )

    def build(self, base: nn.Module) -> None:
        """Create the blocks of every site, stacked.

        Raises:
            CapacityError: a number of blocks that does not divide all sides.
        """
        sides = [side for site in self.sites for side in (site.in_features, site.out_features)]
        self.blocks = self._divisor(math.gcd(*sides))
        self.rank = self.rank_within("rank", min(sides) // self.blocks, f"the smallest side, {min(sides)}, over {self.blocks} blocks")
        self.scaling = self.scale * self.settings["alpha"] / self.rank
        n, r = self.blocks, self.rank
        self.down = nn.ParameterDict({s.key: torch.empty(n, r, s.in_features // n) for s in self.sites})
        self.up = nn.ParameterDict({s.key: torch.empty(n, s.out_features // n, r) for s in self.sites})

    def _divisor(self, common: int) -> int:
        blocks = self.capacity["blocks"]
        divisors = [n for n in range(1, common + 1) if common % n == 0]
        if type(blocks) is not int or blocks not in divisors:
            raise CapacityError(
                f"melora: blocks {blocks!r} is not valid. Valid: {', '.join(map(str, divisors))} (what divides the in and out sizes of "
                "all adapted matrices)",
                "blocks",
                divisors,
            )
        return blocks

    def initialise(self, generator: torch.Generator, base: nn.Module) -> None:
        """Draw A site by site; set B to zero."""
        for site in self.sites:
            kaiming_uniform_(self.down[site.key], site.in_features // self.blocks, generator)
            nn.init.zeros_(self.up[site.key])

    def factors(self, site: Site) -> tuple[Tensor, Tensor]:
        """Return the block-diagonal factors, of rank n r."""
        return torch.block_diag(*self.down[site.key]), self.scaling * torch.block_diag(*self.up[site.key])

    def transform(self, x_BTi: Tensor, y_BTo: Tensor, site: Site) -> Tensor:
        """Add the update of all blocks, in place where the dtypes allow it."""
        update_BTo = self.delta(x_BTi, site)
        return y_BTo.add_(update_BTo) if y_BTo.dtype == update_BTo.dtype else y_BTo + update_BTo

    def delta(self, x_BTi: Tensor, site: Site) -> Tensor:
        """Return the outputs of all blocks, side by side."""
        slices_nti = x_BTi.reshape(-1, self.blocks, site.in_features // self.blocks).transpose(0, 1)
        codes_ntr = slices_nti @ self.down[site.key].mT
        outputs_nto: Tensor = codes_ntr @ (self.scaling * self.up[site.key]).mT
        return outputs_nto.transpose(0, 1).reshape(*x_BTi.shape[:-1], site.out_features)


METHOD = Melora
