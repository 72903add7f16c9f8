"""Hadamard adapter: an elementwise product and a shift on the attention's output.

Shapes: B batch, T tokens, i in_features, o out_features, d the width of the adapted side.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from search_spaces.errors import NotApplicableError
from trainers.adapters.architectures import layer_norms
from trainers.adapters.copies import NORMS, ParameterCopies, in_head
from trainers.adapters.method import Method, Side
from trainers.adapters.sites import Site
from trainers.api import MethodCard, Setting


class Hadamard(Method):
    """`A' = w ⊙ A + b` on the self-attention's output A, with the normalisation after the attention (Chen et al. 2023, arXiv 2407.11033).

    w starts at ones and b at zeros, one pair per adapted layer; the normalisation's own parameters are trained as well. There is no public
    code, and three points are choices here:

    * `placement`: whether A stands before or after the attention's output matrix is ambiguous; before is what HF BERT calls the output
      of its self-attention.
    * `which`: the paper adapts 8 of 12 layers without naming them in what is public; the top ones by default.
    * `head_share`: on a classifier the paper trains the head alone first, then freezes it and trains the adapters; the split of the steps
      is not known. Each stage has one step at least. Both run under one learning-rate schedule. A base without a classification head has
      the second stage only. Norms or biases that a sweep trains beside every adapter are trained in both stages.
    """

    card = MethodCard(
        name="hadamard",
        draws=False,
        family="scaling",
        reference="arXiv 2407.11033",
        source="the abstract and equations of the reference; no public code",
        capacity=("layers",),
        settings={
            "placement": Setting("before_output", ("before_output", "after_output"), "side of the attention's output matrix"),
            "which": Setting("top", ("top", "bottom"), "end of the model from which `layers` are counted"),
            "head_share": Setting(0.5, above=0, below=1, doc="share of the steps that train a classification head alone at first"),
        },
        default_targets=("o",),
        reads=("learning_rate",),
        packable=True,
        trains_extra=(NORMS,),
        freezes=True,
        head_schedule="trains the head in the first `head_share` of the steps only",
    )
    drops_input: ClassVar[bool] = False

    @classmethod
    def roles(cls, targets: Sequence[str], settings: Mapping[str, Any], present: Sequence[str]) -> tuple[str, ...]:
        """Return the attention's output matrix: the position is part of the definition."""
        return ("o",)

    def build(self, base: nn.Module) -> None:
        """Create one pair of vectors per adapted layer, and copies of the normalisations after the attention.

        Raises:
            CapacityError: more layers than the model has.
            NotApplicableError: a base without a normalisation after the attention.
        """
        norm = layer_norms(base).after_attention
        if norm is None:
            config: Any = base.config
            raise NotApplicableError(
                f"hadamard trains the normalisation after the attention, which this base ({config.model_type}) does not have: its layers "
                "add attention and feed-forward part at once. Fix: another method, or a model whose layers apply one after the other"
            )
        count = self.rank_within("layers", len(self.sites), "the model's layers")
        self.sites = self.sites[-count:] if self.settings["which"] == "top" else self.sites[:count]
        self.before_output = self.settings["placement"] == "before_output"
        widths = {s.key: s.in_features if self.before_output else s.out_features for s in self.sites}
        self.factor = nn.ParameterDict({key: torch.empty(width) for key, width in widths.items()})
        self.shift = nn.ParameterDict({key: torch.empty(width) for key, width in widths.items()})
        own = dict(base.named_parameters())
        norms = {f"{site.layer_path}.{norm}" for site in self.sites}
        self.copies: ParameterCopies = ParameterCopies(own, [name for name in own if name.rpartition(".")[0] in norms])
        self.has_head = any(in_head(name) for name in own)
        self.has_bias = all(f"{site.path}.bias" in own for site in self.sites)

    def initialise(self, generator: torch.Generator, base: nn.Module) -> None:
        """Start as the identity, from the base's normalisations; nothing is drawn."""
        for site in self.sites:
            nn.init.ones_(self.factor[site.key])
            nn.init.zeros_(self.shift[site.key])
        self.copies.take(dict(base.named_parameters()))

    def sides(self, site: Site) -> tuple[Side, ...]:
        """Return the side of the output matrix that is adapted."""
        return ("input",) if self.before_output else ("output",)

    def enter(self, x_BTi: Tensor, site: Site) -> Tensor:
        """Return `w ⊙ x + b`."""
        return torch.addcmul(self.shift[site.key], self.factor[site.key], x_BTi)

    def transform(self, x_BTi: Tensor, y_BTo: Tensor, site: Site) -> Tensor:
        """Return `w ⊙ y + b`."""
        return torch.addcmul(self.shift[site.key], self.factor[site.key], y_BTo.to(x_BTi.dtype))

    # ------------------------------------------------------------------------------------------------------------ stages

    def before_step(self, step: int, steps: int) -> None:
        """Freeze the adapters while the head is trained alone."""
        self.requires_grad_(not self._trains_head_alone(step, steps))

    def trains_head(self, step: int, steps: int) -> bool:
        """Tell whether this step belongs to the first stage; the head is frozen in the second."""
        return self._trains_head_alone(step, steps)

    def complete(self, taken: int, steps: int) -> bool:
        """Tell whether the second stage has taken a step, where there is a first one."""
        return not self.has_head or taken > self._head_steps(steps)

    def _trains_head_alone(self, step: int, steps: int) -> bool:
        return self.has_head and step < self._head_steps(steps)

    def _head_steps(self, steps: int) -> int:
        # A trial of one step has the second stage only.
        return min(max(int(self.settings["head_share"] * steps), 1), steps - 1)

    # ----------------------------------------------------------------------------------------------------------- merging

    def unmergeable(self) -> str | None:
        """Return the reason on a base whose attention's output matrix has no bias that could hold the shift."""
        return None if self.has_bias else "the attention's output matrix of this base has no bias to hold its shift"

    def merged(self, base: nn.Module) -> dict[str, Tensor]:
        """Return the output matrices with scaled columns (or rows), their biases with the shift, and the normalisations."""
        changed = self.copies.cast()
        for site in self.sites:
            own = base.get_submodule(site.path)
            factor, shift = self.factor[site.key], self.shift[site.key]
            weight, bias = own.get_parameter("weight").to(factor.dtype), own.get_parameter("bias").to(factor.dtype)
            if self.before_output:
                new = {"weight": weight * factor, "bias": bias + weight @ shift}
            else:
                new = {"weight": weight * factor[:, None], "bias": bias * factor + shift}
            changed |= {f"{site.path}.{leaf}": tensor.to(own.get_parameter(leaf).dtype) for leaf, tensor in new.items()}
        return changed


METHOD = Hadamard
