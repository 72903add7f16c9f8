"""VeRA: trained scaling vectors around a frozen random pair of factors that all layers share.

Shapes: B batch, T tokens, i in_features, o out_features, r rank.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from trainers.adapters.frozen import FrozenTensors
from trainers.adapters.method import Method, kaiming_uniform_
from trainers.adapters.sites import Site
from trainers.api import MethodCard, Setting

_LARGEST = 2**31 - 1


class Vera(Method):
    """`ΔW = diag(b) B diag(d) A` with A and B frozen and shared, d (r) and b (o) trained (Kopiczko et al. 2023, arXiv 2310.11454, eq. 2).

    A has as many columns, and B as many rows, as the widest site needs; a narrower one uses the first. Both are Kaiming-uniform (a=0),
    drawn from the trial's seed and drawn again instead of being stored. d starts at `d_initial`, b at zero. The definition has no
    scaling factor: the sweep's scale multiplies the update.
    """

    card = MethodCard(
        name="vera",
        family="low-rank",
        reference="arXiv 2310.11454",
        source="peft 0.21.2 tuners/vera",
        capacity=("rank",),
        settings={"d_initial": Setting(0.1, doc="initial value of d")},
        trains_at_start=("lambda_b.*",),
        packable=True,
        exports_lora=True,
    )

    def build(self, base: nn.Module) -> None:
        """Create d and b of every site. The rank may exceed the matrices' sides."""
        self.rank = self.rank_within("rank", _LARGEST, "the largest that can be stored")
        self.lambda_d = nn.ParameterDict({s.key: torch.empty(self.rank) for s in self.sites})
        self.lambda_b = nn.ParameterDict({s.key: torch.empty(s.out_features) for s in self.sites})
        self.shared = FrozenTensors()

    def initialise(self, generator: torch.Generator, base: nn.Module) -> None:
        """Draw A, then B; set d to its initial value and b to zero."""
        widest_in, widest_out = max(s.in_features for s in self.sites), max(s.out_features for s in self.sites)
        for name, shape in (("A", (self.rank, widest_in)), ("B", (widest_out, self.rank))):
            factor = torch.empty(shape)
            kaiming_uniform_(factor, shape[1], generator, a=0)
            self.shared[name] = factor
        for site in self.sites:
            nn.init.constant_(self.lambda_d[site.key], self.settings["d_initial"])
            nn.init.zeros_(self.lambda_b[site.key])

    def factors(self, site: Site) -> tuple[Tensor, Tensor]:
        """Return diag(d) A and diag(b) B."""
        a_ri, b_or = self._frozen(site)
        return self.lambda_d[site.key][:, None] * a_ri, self._output_scale(site)[:, None] * b_or

    def delta(self, x_BTi: Tensor, site: Site) -> Tensor:
        """Return `b ⊙ (B (d ⊙ (A x)))`."""
        a_ri, b_or = self._frozen(site)
        h_BTr, d_r = nn.functional.linear(x_BTi, a_ri), self.lambda_d[site.key]
        delta_BTo: Tensor = _Scaled.apply(h_BTr, d_r, self._output_scale(site), b_or)  # type: ignore[no-untyped-call]
        return delta_BTo

    def _frozen(self, site: Site) -> tuple[Tensor, Tensor]:
        return self.shared["A"][:, : site.in_features], self.shared["B"][: site.out_features]

    def _output_scale(self, site: Site) -> Tensor:
        b_o: Tensor = self.lambda_b[site.key]
        return self.scale * b_o


class _Scaled(torch.autograd.Function):
    """`b ⊙ (B (d ⊙ h))` for frozen B, of which the backward pass needs h alone.

    What the operations one by one would keep, `d ⊙ h` and the output before b, is larger than the inputs that LoRA keeps.
    """

    @staticmethod
    def forward(ctx: Any, h_BTr: Tensor, d_r: Tensor, scale_o: Tensor, b_or: Tensor) -> Tensor:
        ctx.save_for_backward(h_BTr, d_r, scale_o, b_or)
        return nn.functional.linear(h_BTr * d_r, scale_o[:, None] * b_or)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BTo: Tensor) -> tuple[Tensor | None, ...]:
        h_BTr, d_r, scale_o, b_or = ctx.saved_tensors
        gradient_to, h_tr = gradient_BTo.flatten(0, -2), h_BTr.flatten(0, -2)
        into_scale_o = ((gradient_to.T @ (h_tr * d_r)) * b_or).sum(1)
        into_code_tr = gradient_to @ (scale_o[:, None] * b_or)
        into_d_r = (into_code_tr * h_tr).sum(0)
        return into_code_tr.mul_(d_r).view_as(h_BTr), into_d_r, into_scale_o, None


METHOD = Vera
