"""Rank allocation by smoothed sensitivities on a cubic budget (Zhang et al. 2023, arXiv 2303.10512, section 3).

Shapes: N sites, r components of a site, n matrices of one shape (k, m).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from search_spaces.errors import NotApplicableError
from trainers.adapters.allocation import AllocatedMethod, average_over_workers
from trainers.api import Setting

SETTINGS: Mapping[str, Setting] = {
    "alpha": Setting(32.0, doc="numerator of the scaling α/(r₀ + 1e-5); median of the published GLUE scripts"),
    "warmup": Setting(
        0.13, at_least=0, below=1, doc="share of the steps before the budget falls (t_i/T); median of the published GLUE scripts"
    ),
    "final": Setting(0.48, at_least=0, below=1, doc="share of the steps on the final choice (t_f/T); median of the published GLUE scripts"),
    "interval": Setting(
        0.0016, at_least=0, below=1, doc="share of the steps between two choices (ΔT/T), at least one; median of the published GLUE scripts"
    ),
    "beta1": Setting(0.85, above=0, below=1, doc="decay of the smoothed sensitivity; as in all published scripts"),
    "beta2": Setting(0.85, above=0, below=1, doc="decay of its deviation; as in all published scripts"),
    "orthogonality": Setting(
        0.1, at_least=0, doc="weight γ of the regulariser; 0.1 in six of the eight published GLUE scripts, 0.3 in RTE and STS-B"
    ),
}
"""Structural settings of a method that allocates by sensitivities."""


@dataclass(frozen=True)
class CubicBudget:
    """`b(t) = b_T + (b_0 - b_T) (1 - (t - t_i)/(T - t_i - t_f))³` between warm-up and final phase, rounded down."""

    start: int
    """b_0: components of all sites at the start."""
    end: int
    """b_T: components of all sites in the end."""
    warmup: int
    """t_i: the last step with the full budget."""
    settled: int
    """T - t_f: the step whose choice is final."""
    interval: int
    """ΔT: steps between two choices."""

    def observes(self, step: int) -> bool:
        """Tell whether the step's sensitivities are taken in; the first always, so that there are scores."""
        return step < self.settled or step == 0

    def drops(self, step: int) -> int | None:
        """Return how many components are out after the step; None where the choice stays open."""
        if step >= self.settled:
            return self.start - self.end
        if step <= self.warmup or step % self.interval:
            return None
        left = 1 - (step - self.warmup) / (self.settled - self.warmup)
        return self.start - int((self.start - self.end) * left**3 + self.end)

    def settles(self, step: int) -> bool:
        """Tell whether the budget has reached its end."""
        return step >= self.settled


class Sensitivities:
    """Smoothed sensitivities of parameters: `I = |p g|`, `Ī ← β₁ Ī + (1 - β₁) I`, `Ū ← β₂ Ū + (1 - β₂) |I - Ī|` with the new Ī.

    Attributes:
        mean: Ī by parameter name; empty before the first step.
        deviation: Ū by parameter name.
    """

    def __init__(self, beta1: float, beta2: float) -> None:
        self.beta1, self.beta2 = beta1, beta2
        self.mean: dict[str, Tensor] = {}
        self.deviation: dict[str, Tensor] = {}

    def update(self, parameters: Mapping[str, nn.Parameter]) -> None:
        """Take in one step: the parameters after it, and the gradients that it used.

        Raises:
            NotApplicableError: an optimiser that leaves no gradients.
        """
        gradients = [p.grad for p in parameters.values() if p.grad is not None]
        if len(gradients) < len(parameters):
            raise NotApplicableError(
                f"sensitivities need gradients, and after the step {next(n for n, p in parameters.items() if p.grad is None)} has none. "
                "Fix: train the method with an optimiser that leaves them"
            )
        if not self.mean:
            self.mean = {name: torch.zeros_like(p) for name, p in parameters.items()}
            self.deviation = {name: torch.zeros_like(p) for name, p in parameters.items()}
        mean, deviation = list(self.mean.values()), list(self.deviation.values())
        now = list(torch._foreach_mul(list(parameters.values()), gradients))
        torch._foreach_abs_(now)
        average_over_workers(now)
        torch._foreach_mul_(mean, self.beta1)
        torch._foreach_add_(mean, now, alpha=1 - self.beta1)
        torch._foreach_sub_(now, mean)
        torch._foreach_abs_(now)
        torch._foreach_mul_(deviation, self.beta2)
        torch._foreach_add_(deviation, now, alpha=1 - self.beta2)

    def scores(self) -> dict[str, Tensor]:
        """Return `Ī Ū` of every element, by parameter name."""
        return {name: mean * self.deviation[name] for name, mean in self.mean.items()}


class SensitivityAllocation(AllocatedMethod):
    """Base of methods that allocate by sensitivities; subclasses say which parameters have them and how they add up."""

    final_components: int
    """Components of all sites in the end."""

    def create(self, inner: int, rank: int) -> None:
        """Create the factors, the scaling and the empty sensitivities."""
        super().create(inner, rank)
        self.scaling = self.scale * self.settings["alpha"] / (rank + 1e-5)
        self.sensitivities = Sensitivities(self.settings["beta1"], self.settings["beta2"])

    def orthonormal(self) -> Iterable[Tensor]:
        """Return the matrices whose rows the regulariser keeps orthonormal, as stacks (n, k, m)."""
        raise NotImplementedError

    def penalty(self) -> Tensor | None:
        """Return `γ` times the mean of `‖M Mᵀ - I‖_F` over the matrices of `orthonormal`."""
        weight: float = self.settings["orthogonality"]
        if not weight:
            return None
        distances = []
        for stack_nkm in self.orthonormal():
            gram_nkk = stack_nkm @ stack_nkm.mT
            identity_kk = torch.eye(gram_nkk.shape[-1], dtype=gram_nkk.dtype, device=gram_nkk.device)
            distances.append(torch.linalg.matrix_norm(gram_nkk - identity_kk))
        return weight * torch.cat(distances).mean()

    def scored(self) -> Mapping[str, nn.Parameter]:
        """Return the parameters whose sensitivities are followed, by name."""
        raise NotImplementedError

    def schedule(self, steps: int) -> CubicBudget:
        """Return the cubic budget, its phases rounded to whole steps; the final phase has one at least."""
        return CubicBudget(
            start=len(self.sites) * self.rank,
            end=self.final_components,
            warmup=round(self.settings["warmup"] * steps),
            settled=steps - max(1, round(self.settings["final"] * steps)),
            interval=max(1, round(self.settings["interval"] * steps)),
        )

    def observe(self) -> None:
        """Take in this step's sensitivities."""
        self.sensitivities.update(self.scored())

    def forget(self) -> None:
        """Let go of the sensitivities."""
        self.sensitivities.mean, self.sensitivities.deviation = {}, {}

    def training_state(self) -> dict[str, Tensor]:
        """Return the smoothed sensitivities besides the final choice."""
        kept = {"mean": self.sensitivities.mean, "deviation": self.sensitivities.deviation}
        return super().training_state() | {f"{kind}.{name}": t for kind, tensors in kept.items() for name, t in tensors.items()}

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `training_state` returned."""
        super().load_training_state(state)
        names = [name for name in self.scored() if f"mean.{name}" in state]
        device = self.diagonal.device
        self.sensitivities.mean = {name: state[f"mean.{name}"].to(device, copy=True) for name in names}
        self.sensitivities.deviation = {name: state[f"deviation.{name}"].to(device, copy=True) for name in names}
