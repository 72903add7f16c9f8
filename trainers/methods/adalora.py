"""AdaLoRA: triplets of singular vectors and values, pruned by sensitivity.

Shapes: N sites, r₀ components of a site at the start, i in_features, o out_features.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import torch
from torch import Tensor, nn

from trainers.adapters.allocation import INIT_RATIO
from trainers.adapters.sensitivity import SETTINGS, SensitivityAllocation
from trainers.api import MethodCard


class AdaLora(SensitivityAllocation):
    """`ΔW = α/(r₀ + 1e-5) B diag(E) A`, A (r₀, i), E (r₀), B (o, r₀) (Zhang et al. 2023, arXiv 2303.10512, eq. 3).

    Training takes out triplets until `rank` are left on average: with `s = Ī Ū` (`Sensitivities`), the score of a triplet is
    `s(E_k) + mean_j s(A_kj) + mean_j s(B_jk)`, and those up to the last of the `CubicBudget` get `E_k = 0`. The scaling keeps r₀.
    The loss has `γ` times the mean of `‖A Aᵀ - I‖_F` and `‖Bᵀ B - I‖_F` over all matrices.
    A and B start at N(0, 0.02²), E at zero.

    The published warm-up and final phases are numbers of steps; here they are shares of all steps, so that they fit a sweep. As in
    HF PEFT the final choice is made at step `T - t_f` itself; loralib makes it there only if ΔT divides the step, else one later.
    """

    card = MethodCard(
        name="adalora",
        family="dynamic",
        reference="arXiv 2303.10512",
        source="QingruZhang/AdaLoRA@d10f5eb loralib/loralib/adalora.py; peft 0.21.2 tuners/adalora",
        capacity=("rank",),
        settings={"init_ratio": INIT_RATIO, **SETTINGS},
        default_targets=("q", "k", "v", "o", "gate", "up", "down", "fc1", "fc2"),
        trains_at_start=("diagonal",),
        packable=True,
        exports_lora=True,
        penalised=True,
    )

    def build(self, base: nn.Module) -> None:
        """Create one triplet of factors per site."""
        self.check_shares()
        self.final_components = self.capacity["rank"] * len(self.sites)
        rank = self.initial_rank()
        self.create(rank, rank)

    def initialise(self, generator: torch.Generator, base: nn.Module) -> None:
        """Draw A and B; set E to zero."""
        for factor in (*self.down.values(), *self.up.values()):
            nn.init.normal_(factor, 0.0, 0.02, generator)
        nn.init.zeros_(self.diagonal)

    def orthonormal(self) -> Iterable[Tensor]:
        """Return A and Bᵀ of all sites."""
        return (*self.down.values(), *(b_nor.mT for b_nor in self.up.values()))

    def scored(self) -> Mapping[str, nn.Parameter]:
        """Return all parameters."""
        return dict(self.named_parameters())

    def importance(self) -> Tensor:
        """Return `s(E_k) + mean_j s(A_kj) + mean_j s(B_jk)`, (N, r₀)."""
        scores = self.sensitivities.scores()
        down_Nr = self.down.join(scores[f"down.{key}"].mean(-1) for key in self.down)
        up_Nr = self.up.join(scores[f"up.{key}"].mean(-2) for key in self.up)
        return scores["diagonal"] + down_Nr + up_Nr


METHOD = AdaLora
