"""DyLoRA: LoRA that is trained for all ranks up to its own.

Shapes: B batch, T tokens, i in_features, o out_features, b the rank in use.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from search_spaces.errors import CapacityError
from trainers.adapters.draws import derived_generator
from trainers.adapters.pairs import PairMethod
from trainers.adapters.sites import Site
from trainers.api import MethodCard, Setting


class Dylora(PairMethod):
    """`ΔW = (α/b) B[:, :b] A[:b]` with b drawn from 1..r for each step (Valipour et al. 2022, arXiv 2210.07558, algorithm 1).

    One b holds for the whole model and all micro-batches of an optimiser step. In the mode `frozen`, that of the published runs, only
    row b of A and column b of B get a gradient; in `nested` all up to b do. The published code multiplies both factors by √(r/b), which
    together with α/r gives α/b. A starts Kaiming-uniform (a=√5), B zero.

    As in the published code the optimiser sees whole factors: rows that a step leaves out have a gradient of zero, so that momentum and
    weight decay still move them.
    """

    card = MethodCard(
        name="dylora",
        family="dynamic",
        reference="arXiv 2210.07558",
        source="huawei-noah/Efficient-NLP@bb44348 DyLoRA/loralib",
        capacity=("rank",),
        settings={
            "mode": Setting("frozen", ("frozen", "nested"), "which rows a step trains: row b alone, or all up to b"),
            "alpha": Setting(16.0, doc="numerator of the scaling α/b"),
            "evaluation_rank": Setting(0, doc="rank of evaluation, merging and export; 0 for the capacity's rank"),
        },
        trains_at_start=("up.*",),
        packable=True,
        exports_lora=True,
    )

    def build(self, base: nn.Module) -> None:
        """Create factors of the largest rank.

        Raises:
            CapacityError: an evaluation rank above it.
        """
        super().build(base)
        chosen = self.settings["evaluation_rank"]
        if not 0 <= chosen <= self.rank:
            raise CapacityError(f"dylora: evaluation_rank {chosen} is not valid. Valid: 1 to {self.rank} (the rank), or 0 for the rank")
        self.evaluation_rank = chosen or self.rank
        self.training_rank = self.rank

    def initialise(self, generator: torch.Generator, base: nn.Module) -> None:
        """Draw A, and the seed of the ranks; set B to zero."""
        super().initialise(generator, base)
        self.draws = derived_generator(generator)

    def before_step(self, step: int, steps: int) -> None:
        """Draw the rank of this step."""
        self.training_rank = int(torch.randint(1, self.rank + 1, (), generator=self.draws))

    def factors(self, site: Site) -> tuple[Tensor, Tensor]:
        """Return the factors at the evaluation rank."""
        return self._leading(site, self.evaluation_rank)

    def code(self, x_BTi: Tensor, site: Site) -> tuple[Tensor, Tensor]:
        """Return `x A[:b]^T` and `(α/b) B[:, :b]`."""
        down_bi, up_ob = self._leading(site, self.training_rank) if self.training else self.factors(site)
        if self.training and self.settings["mode"] == "frozen":
            down_bi = torch.cat([down_bi[:-1].detach(), down_bi[-1:]])
            up_ob = torch.cat([up_ob[:, :-1].detach(), up_ob[:, -1:]], dim=1)
        return nn.functional.linear(x_BTi, down_bi), up_ob

    def _leading(self, site: Site, rank: int) -> tuple[Tensor, Tensor]:
        scaling = self.scale * self.settings["alpha"] / rank
        return self.down[site.key][:rank], scaling * self.up[site.key][:, :rank]

    def training_state(self) -> dict[str, Tensor]:
        """Return the state of the generator that draws the ranks."""
        return {"draws": self.draws.get_state()}

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on drawing where the stored state was."""
        self.draws.set_state(state["draws"])


METHOD = Dylora
