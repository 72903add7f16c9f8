"""DoRA (dynamic rank distribution): rank-one components, pruned by their share of the update's norm.

Shapes: N sites, r₀ components of a site at the start, i in_features, o out_features.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from trainers.adapters.allocation import INIT_RATIO, AllocatedMethod, average_over_workers
from trainers.adapters.method import kaiming_uniform_
from trainers.api import MethodCard, Setting

EPSILON = 1e-8


@dataclass(frozen=True)
class CubicPruning:
    """Prunes `n (r₀ - r)/r₀ (t'/t'_max)³` components at `t' = t - t_start`, for steps `t` from 1 on."""

    excess: int
    """n (r₀ - r)/r₀: components of all sites that are out in the end."""
    steps: int
    """Optimiser steps of the training."""
    warmup: float
    """Share of the steps before the first pruning."""
    final: float
    """Share of the steps after the last."""
    interval: int
    """Steps between two prunings."""

    def observes(self, step: int) -> bool:
        """Tell whether pruning is not over yet."""
        return self._time(step) <= self._last

    def drops(self, step: int) -> int | None:
        """Return how many components the step takes out: one at least, as published; None where it takes none."""
        time, last = self._time(step), self._last
        if time < 0 or (time < last and time % self.interval):
            return None
        if time >= last:
            return self.excess
        return min(self.excess, max(1, self.excess * time**3 // last**3))

    def settles(self, step: int) -> bool:
        """Tell whether the step is the last that prunes."""
        return self._time(step) >= self._last

    def _time(self, step: int) -> int:
        return int(step + 1 - self.steps * self.warmup)

    @property
    def _last(self) -> int:
        # Rounding must not put the end behind the last step.
        return min(int(self.steps * (1 - self.warmup - self.final)), self._time(self.steps - 1))


class DoraRank(AllocatedMethod):
    """`ΔW = α/r₀ Σ_k c_k b_k a_kᵀ`, A (r₀, i), c (r₀), B (o, r₀), pruned to `rank` on average (Mao et al. 2024, arXiv 2405.17357).

    This is dynamic rank distribution, not weight decomposition. Every step until pruning ends, component k scores
    `‖c_k b_k a_kᵀ‖_F / (‖B diag(c) A‖_F + 1e-8)`, smoothed by `S ← β S + (1 - β) s`; prunings (`CubicPruning`) set c to zero for the
    lowest S of all. Both norms come from r₀ x r₀ Gram matrices, where the published code makes r₀ matrices of o x i.
    Until then the loss has `α_reg` times the mean of the variances (unbiased) of all rows of A and columns of B.
    A and B start Kaiming-uniform (a=0), c at zero.

    The published counts leave c out: 1,990,656 for RoBERTa-base at 12 components, where 1,991,520 are trained. The pruning interval is
    a share of all steps here; the number of pruned components is rounded down exactly, where published code rounds a float.
    """

    card = MethodCard(
        name="dora_rank",
        family="dynamic",
        reference="arXiv 2405.17357",
        source="MIkumikumi0116/DoRA@1c76b34 Src/Finetune_And_Benchmark/Finetune_Utils.py",
        capacity=("rank",),
        settings={
            "init_ratio": INIT_RATIO,
            "alpha": Setting(8.0, doc="numerator of the scaling α/r₀"),
            "warmup": Setting(0.15, at_least=0, below=1, doc="share of the steps before pruning"),
            "final": Setting(0.5, at_least=0, below=1, doc="share of the steps after pruning"),
            "interval": Setting(
                0.0125, at_least=0, below=1, doc="share of the steps between two prunings, at least one; published: 100 of 8025 on CoLA"
            ),
            "beta": Setting(0.9, at_least=0, below=1, doc="decay of the smoothed scores"),
            "variance": Setting(0.1, at_least=0, doc="weight α_reg of the regulariser"),
        },
        default_targets=("q", "k", "v", "o", "gate", "up", "down", "fc1", "fc2"),
        trains_at_start=("diagonal",),
        packable=True,
        exports_lora=True,
        penalised=True,
    )

    def build(self, base: nn.Module) -> None:
        """Create the components of each site.

        Raises:
            CapacityError: a rank that does not fit, or shares of the steps that leave none between them.
        """
        self.check_shares()
        rank = self.initial_rank()
        self.create(rank, rank)
        self.scaling = self.scale * self.settings["alpha"] / rank
        self.smoothed: Tensor | None = None
        self.pruning = True

    def initialise(self, generator: torch.Generator, base: nn.Module) -> None:
        """Draw A and B; set c to zero."""
        for factor in (*self.down.values(), *self.up.values()):
            kaiming_uniform_(factor, factor.shape[-1], generator, a=0)
        nn.init.zeros_(self.diagonal)

    def schedule(self, steps: int) -> CubicPruning:
        """Return the schedule, the interval rounded to whole steps."""
        warmup, final = self.settings["warmup"], self.settings["final"]
        interval = max(1, round(self.settings["interval"] * steps))
        return CubicPruning(len(self.sites) * (self.rank - self.capacity["rank"]), steps, warmup, final, interval)

    def before_step(self, step: int, steps: int) -> None:
        """Note whether the regulariser still acts."""
        self.pruning = self.schedule(steps).observes(step)

    def penalty(self) -> Tensor | None:
        """Return the regulariser that keeps components even, until pruning ends."""
        weight: float = self.settings["variance"]
        if not weight or not self.pruning:
            return None
        variances = [a_nri.var(-1) for a_nri in self.down.values()] + [b_nor.var(-2) for b_nor in self.up.values()]
        return weight * torch.cat([v.flatten() for v in variances]).mean()

    def shares(self) -> Tensor:
        """Return `‖c_k b_k a_kᵀ‖_F / (‖B diag(c) A‖_F + 1e-8)` from the Gram matrices of A and B, (N, r₀)."""
        gram_Nrr = self.down.join(a @ a.mT for a in self.down.values()) * self.up.join(b.mT @ b for b in self.up.values())
        component_Nr = self.diagonal.abs() * gram_Nrr.diagonal(dim1=1, dim2=2).sqrt()
        square_N = (gram_Nrr * self.diagonal[:, :, None] * self.diagonal[:, None, :]).sum((1, 2))
        return component_Nr / (square_N.clamp(min=0).sqrt()[:, None] + EPSILON)

    def observe(self) -> None:
        """Take in the components' present shares."""
        now, beta = self.shares(), self.settings["beta"]
        average_over_workers([now])
        self.smoothed = (1 - beta) * now if self.smoothed is None else beta * self.smoothed + (1 - beta) * now

    def importance(self) -> Tensor:
        """Return the smoothed shares (N, r₀)."""
        assert self.smoothed is not None
        return self.smoothed

    def forget(self) -> None:
        """Let go of the smoothed shares."""
        self.smoothed = None

    def training_state(self) -> dict[str, Tensor]:
        """Return the smoothed shares besides the final choice."""
        return super().training_state() | ({} if self.smoothed is None else {"smoothed": self.smoothed})

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `training_state` returned."""
        super().load_training_state(state)
        self.smoothed = state["smoothed"].to(self.diagonal.device) if "smoothed" in state else None


METHOD = DoraRank
