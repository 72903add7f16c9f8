"""LoRA²: two low-rank pairs at different scales, chained through a diagonal that is pruned by sensitivity.

Shapes: N sites, k inner rank, r rank of the diagonal, i in_features, o out_features.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor, nn

from trainers.adapters.sensitivity import SETTINGS, SensitivityAllocation
from trainers.api import MethodCard, Setting


class Lora2(SensitivityAllocation):
    """`ΔW = α/(r + 1e-5) b' a' diag(E) B A`, A (k, i), B (r, k), E (r), a' (k, r), b' (o, k) (arXiv 2408.06854).

    The allocator is AdaLoRA's, but follows the small matrices only: with `s = Ī Ū` (`Sensitivities`), entry j of E scores
    `s(E_j) + mean_k s(a'_kj) + mean_k s(B_jk)`. The loss has `γ` times the mean of `‖M Mᵀ - I‖_F` over A, Bᵀ, a' and b'ᵀ of all
    matrices. A, B, a' and b' start at N(0, 0.02²), E at zero. The published code fixes k at 8 and calls r `lora_r`.

    Deviations from the published code: its `train` and `eval` merge another expression than its forward pass computes, here the
    merged weight is that of the forward pass; its regulariser meant to add `‖(Aᵀ Bᵀ)(a'ᵀ b'ᵀ)‖`, but computes that without
    gradients and then adds the last matrix's own distance again, for every parameter of the model: left out.
    """

    card = MethodCard(
        name="lora2",
        family="dynamic",
        reference="arXiv 2408.06854",
        source="Godz-z/LoRA-2@8b8cfbb loralib/loralib/LoRA2.py",
        capacity=("inner", "rank"),
        capacity_defaults={"rank": 8},
        settings={
            "target_ratio": Setting(
                0.3125, above=0, at_most=1, doc="entries of E at the end over those at the start; median of the published GLUE scripts"
            ),
            **SETTINGS,
        },
        default_targets=("q", "k", "v", "o", "gate", "up", "down", "fc1", "fc2"),
        trains_at_start=("diagonal",),
        packable=True,
        exports_lora=True,
        penalised=True,
    )

    def build(self, base: nn.Module) -> None:
        """Create the five factors of each site.

        Raises:
            CapacityError: a rank above the smallest side, or shares of the steps that leave none between them.
        """
        self.check_shares()
        ratio = self.settings["target_ratio"]
        smallest = min(min(s.in_features, s.out_features) for s in self.sites)
        side, count = "the smaller side of the smallest adapted matrix", len(self.sites)
        inner, rank = self.rank_within("inner", smallest, side), self.rank_within("rank", smallest, side)
        self.final_components = max(1, round(ratio * rank * count))
        self.create(inner, rank)
        self.small_down = nn.Parameter(torch.empty(count, rank, inner))
        self.small_up = nn.Parameter(torch.empty(count, inner, rank))

    def initialise(self, generator: torch.Generator, base: nn.Module) -> None:
        """Draw A, B, a' and b'; set E to zero."""
        for factor in (*self.down.values(), self.small_down, self.small_up, *self.up.values()):
            nn.init.normal_(factor, 0.0, 0.02, generator)
        nn.init.zeros_(self.diagonal)

    def folded(self) -> Sequence[Tensor]:
        """Return `a' diag(E) B A` with the scaling, (n, k, i) by shape."""
        middle_Nkk = (self.small_up * (self.scaling * self.diagonal)[:, None, :]) @ self.small_down
        return [middle_nkk @ a_nki for middle_nkk, a_nki in zip(self.down.split(middle_Nkk), self.down.values(), strict=True)]

    def orthonormal(self) -> Iterable[Tensor]:
        """Return A, Bᵀ, a' and b'ᵀ of all sites."""
        return (*self.down.values(), self.small_down.mT, self.small_up, *(b_nok.mT for b_nok in self.up.values()))

    def scored(self) -> Mapping[str, nn.Parameter]:
        """Return the small matrices."""
        return {"small_down": self.small_down, "diagonal": self.diagonal, "small_up": self.small_up}

    def importance(self) -> Tensor:
        """Return `s(E_j) + mean_k s(a'_kj) + mean_k s(B_jk)`, (N, r)."""
        scores = self.sensitivities.scores()
        return scores["diagonal"] + scores["small_up"].mean(1) + scores["small_down"].mean(2)


METHOD = Lora2
