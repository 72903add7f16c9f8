"""DoRA: weight-decomposed low-rank adaptation.

Shapes: B batch, T tokens, i in_features, o out_features, r rank.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from search_spaces.errors import NotApplicableError
from trainers.adapters.attach import adapter_dtype
from trainers.adapters.copies import has_head
from trainers.adapters.frozen import FrozenTensors
from trainers.adapters.pairs import PairMethod
from trainers.adapters.sites import Site
from trainers.api import MethodCard, Setting

_ROWS = 512
"""Rows of a base matrix of another dtype that are cast at a time."""


class DoraWeight(PairMethod):
    """`W' = diag(m / ‖V‖) V` with `V = W + (α/r) B A` and ‖·‖ the norms of its rows (Liu et al. 2024, arXiv 2402.09353, eq. 5).

    m (o) starts at the row norms of W, A Kaiming-uniform (a=√5), B at zero. No gradient passes through ‖V‖ (section 4.3), and the bias
    is not rescaled. Each forward pass takes the norms from `‖v‖² = ‖w‖² + (2 W A^T + B' A A^T) · B'`, `B' = (α/r) B`, so that V itself
    is never formed. Dropout acts on the input of A and, as in the authors' code and in HF PEFT, on the input of the rescaled part of
    W: that takes a second product with W, which is left out where nothing is dropped.

    A row of W that is zero stays zero and its m untrained, where HF PEFT divides zero by zero.
    """

    card = MethodCard(
        name="dora_weight",
        family="low-rank",
        reference="arXiv 2402.09353",
        source="peft 0.21.2 tuners/lora/dora.py",
        capacity=("rank",),
        settings={"alpha": Setting(16.0, doc="numerator of the scaling α/r")},
        trains_at_start=("up.*", "magnitude.*"),
        packable=True,
        base_weights="read_in_training",
    )

    def build(self, base: nn.Module) -> None:
        """Create the factors and one magnitude per output, and keep sight of the base's matrices."""
        super().build(base)
        dtype = adapter_dtype(base)
        self.magnitude = nn.ParameterDict({s.key: torch.empty(s.out_features, dtype=dtype) for s in self.sites})
        self.squares = FrozenTensors()
        # Plain dictionaries: the base's modules must not become submodules.
        self._matrices = {site.key: base.get_submodule(site.path) for site in self.sites}
        self._has_head = has_head(base)
        self._ratios: dict[str, Tensor] = {}

    def initialise(self, generator: torch.Generator, base: nn.Module) -> None:
        """Draw A; set B to zero and m to the row norms of W, which are computed here once."""
        super().initialise(generator, base)
        for key, magnitude in self.magnitude.items():
            norms_o = torch.linalg.vector_norm(self._weight_of(key), dim=1, dtype=magnitude.dtype)
            self.squares[key] = norms_o.square()
            magnitude.data.copy_(norms_o)

    def prepare(self) -> None:
        """Work out `m / ‖V‖` of every site."""
        self._ratios = {site.key: self._ratio(site) for site in self.sites}

    def transform(self, x_BTi: Tensor, y_BTo: Tensor, site: Site) -> Tensor:
        """Rescale the output without its bias."""
        ratio_o, code = self._ratios[site.key], self.code(x_BTi, site)
        weight, bias_o = self._weight_of(site.key), self._matrices[site.key]._parameters["bias"]
        update_BTo = nn.functional.linear(*code)
        if self.training and self.dropout:
            plain_BTo = nn.functional.linear(x_BTi.to(weight.dtype), weight)
            return y_BTo - plain_BTo + _rescaled(plain_BTo + update_BTo, ratio_o, x_BTi, weight, *code)
        # The bias goes first: what is left of it after an addition would be multiplied by a ratio that may be large.
        plain_BTo = y_BTo if bias_o is None else y_BTo.to(update_BTo.dtype).sub_(bias_o)
        rescaled_BTo = _rescaled(plain_BTo + update_BTo, ratio_o, x_BTi, weight, *code)
        return rescaled_BTo if bias_o is None else rescaled_BTo.add_(bias_o)

    def weight(self, site: Site) -> Tensor:
        """Return `W' - W`."""
        own_oi = self._weight_of(site.key).to(self.magnitude[site.key].dtype)
        return self._ratios[site.key][:, None] * (own_oi + super().weight(site)) - own_oi

    def write_peft(self, folder: Path, base_id: str) -> None:
        """Write a LoRA folder of HF PEFT with `use_dora`.

        Raises:
            NotApplicableError: a base with a classification head, which would be missing there.
        """
        from peft import LoraConfig

        if self._has_head:
            raise NotApplicableError(f"{self.card.name}: an HF PEFT folder would lack the classification head. Fix: export it as merged")
        paths, alpha = [site.path for site in self.sites], self.scaling * self.rank
        config = LoraConfig(
            r=self.rank, lora_alpha=alpha, use_dora=True, target_modules=paths, base_model_name_or_path=base_id, inference_mode=True
        )
        tensors: dict[str, Tensor] = {}
        for site in self.sites:
            prefix = f"base_model.model.{site.path}"
            tensors[f"{prefix}.lora_A.weight"] = self.down[site.key]
            tensors[f"{prefix}.lora_B.weight"] = self.up[site.key]
            tensors[f"{prefix}.lora_magnitude_vector"] = self.magnitude[site.key]
        config.save_pretrained(str(folder))
        save_file({name: t.detach().cpu() for name, t in tensors.items()}, folder / "adapter_model.safetensors", metadata={"format": "pt"})

    def _weight_of(self, key: str) -> Tensor:
        return self._matrices[key].get_parameter("weight")

    def _ratio(self, site: Site) -> Tensor:
        """Return `m / ‖V‖`: 0, without a gradient, where a row of V is zero."""
        squares_o = self._row_squares(site)
        alive_o = squares_o > 0
        return torch.where(alive_o, self.magnitude[site.key], 0) / squares_o.masked_fill(~alive_o, 1).sqrt()

    @torch.no_grad()
    def _row_squares(self, site: Site) -> Tensor:
        a_ri, b_or = self.factors(site)
        products_or = _product(self._weight_of(site.key), a_ri)
        mixed_or = torch.addmm(products_or, b_or, a_ri @ a_ri.T, beta=2)
        return self.squares[site.key] + mixed_or.mul_(b_or).sum(1)


def _rescaled(v_BTo: Tensor, ratio_o: Tensor, *origin: Tensor) -> Tensor:
    """Return `ratio ⊙ v`; `origin` is x, W, code and B of `v = x W^T + code B^T`."""
    result_BTo: Tensor = _Rescaled.apply(v_BTo, ratio_o, *origin)  # type: ignore[no-untyped-call]
    return result_BTo


class _Rescaled(torch.autograd.Function):
    """Works v out again in the backward pass.

    Keeping it would take as much memory as the matrix's output, at every site.
    """

    @staticmethod
    def forward(ctx: Any, v_BTo: Tensor, ratio_o: Tensor, *origin: Tensor) -> Tensor:
        ctx.save_for_backward(ratio_o, *origin)
        return v_BTo * ratio_o

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient_BTo: Tensor) -> tuple[Tensor | None, ...]:
        ratio_o, x_BTi, weight, code_BTr, b_or = ctx.saved_tensors
        v_BTo = nn.functional.linear(x_BTi.to(weight.dtype), weight) + nn.functional.linear(code_BTr, b_or)
        into_ratio_o = (gradient_BTo * v_BTo).flatten(0, -2).sum(0)
        return gradient_BTo * ratio_o, into_ratio_o, None, None, None, None


def _product(weight_oi: Tensor, a_ri: Tensor) -> Tensor:
    """Return `W A^T` (o, r) in A's dtype, without a copy of W."""
    if weight_oi.dtype == a_ri.dtype:
        return weight_oi @ a_ri.T
    return torch.cat([rows.to(a_ri.dtype) @ a_ri.T for rows in weight_oi.split(_ROWS)])


METHOD = DoraWeight
