"""LoRETTA_adp: bottleneck adapters whose two projections are tensor trains.

Shapes: B batch, T tokens, N adapters, d width, b bottleneck, R TT rank.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trainers.adapters.method import Side
from trainers.adapters.sites import Site, own_roles
from trainers.adapters.tensor_shapes import digits_of
from trainers.adapters.tensor_train import CLASSIFIER, Half, TensorTrain, TensorTrainMethod, apply_halves
from trainers.api import MethodCard, Setting

GATED = ("gate", "up", "down")
INPUTS = ("gate", "up", "fc1")
"""Roles whose input is adapted; of the others it is the output."""


class LorettaAdp(TensorTrainMethod):
    """`h + U^T relu(D^T h + c) + e` with D (d, b) and U (b, d) tensor trains of rank R (Yang et al. 2024, arXiv 2402.11417).

    Positions are part of the definition: in BERT and RoBERTa the outputs of `attention.output.dense` and `output.dense`, before the
    sum with the residual and LayerNorm; in LLaMA, Mistral and Qwen the input of gate, the input of up (each with an adapter of its
    own) and the output of down; in OPT the input of fc1 and the output of fc2.

    Every entry of D and U starts with variance 1/(rows + columns), the biases c and e at U(±1/√size): the output does not start at the
    base's. `scale` multiplies the adapter's part. Dropout (0 upstream) acts on the adapter's input. Upstream also trains all
    normalisation layers and, for classification, holds the head's dense layer as a tensor train: here the sweep's
    `also_train: [norms]` and the setting `classifier: tt`, with which the published counts agree.
    """

    card = MethodCard(
        name="loretta_adp",
        family="adapter",
        reference="arXiv 2402.11417",
        source="yifanycc/loretta@c66bbb3 loretta/loretta/tuners/loretta_adp.py, tensor_layers/layers.py, utils/tensor_util.py",
        capacity=("rank", "bottleneck"),
        capacity_defaults={"bottleneck": 64},
        settings={"shape": Setting([], doc="digits k_j of both trains; empty for the published lists"), "classifier": CLASSIFIER},
        default_targets=(*GATED, "o", "fc1", "fc2"),
        starts_as="other",
        mergeable=False,
        packable=True,
    )
    drops_input = False

    @classmethod
    def roles(cls, targets: Sequence[str], settings: Mapping[str, Any], present: Sequence[str]) -> tuple[str, ...]:
        """Return the roles that have adapters in some architecture; `build` keeps those of this one."""
        return own_roles(GATED, present) or ("o", "fc1", "fc2")

    def build(self, base: nn.Module) -> None:
        """Create the trains and biases of all adapters; all have the width of the residual stream."""
        after_dense = any(site.role == "o" and site.path.endswith("output.dense") for site in self.sites)
        unused = {"fc1"} if after_dense else {"o"}
        self.sites = tuple(site for site in self.sites if site.role not in unused)
        self.index = {site: n for n, site in enumerate(self.sites)}
        first = self.sites[0]
        width = first.in_features if first.role in INPUTS else first.out_features
        bottleneck = self.rank_within("bottleneck", width, "the width of the adapted layers")
        digits = digits_of(self.card.name, width, bottleneck, self.settings["shape"])
        rank, count = self.rank_of([digits]), len(self.sites)
        self.down = TensorTrain(count, width, bottleneck, digits, rank)
        self.up = TensorTrain(count, bottleneck, width, digits, rank)
        self.down_bias = nn.Parameter(torch.empty(count, bottleneck))
        self.up_bias = nn.Parameter(torch.empty(count, width))
        self.build_classifier(base, rank)

    def initialise(self, generator: torch.Generator, base: nn.Module) -> None:
        """Draw all cores and biases."""
        for train in (self.down, self.up, self.classifier):
            if train is not None:
                train.initialise(generator)
        for bias in (self.down_bias, self.up_bias):
            bound = bias.shape[1] ** -0.5
            nn.init.uniform_(bias, -bound, bound, generator=generator)

    def prepare(self) -> None:
        """Contract all trains to halves."""
        super().prepare()
        self._down, self._up = self.down.halves(), self.up.halves()
        self._biases = list(zip(self.down_bias.unbind(), self.up_bias.unbind(), strict=True))

    def sides(self, site: Site) -> tuple[Side, ...]:
        """Return the input of gate, up and fc1, the output of the others."""
        return ("input",) if site.role in INPUTS else ("output",)

    def enter(self, x_BTi: Tensor, site: Site) -> Tensor:
        """Return the adapted input."""
        return self._adapted(x_BTi, site)

    def transform(self, x_BTi: Tensor, y_BTo: Tensor, site: Site) -> Tensor:
        """Return the adapted output."""
        return self._adapted(y_BTo.to(self.up_bias.dtype), site)

    def _adapted(self, h_BTd: Tensor, site: Site) -> Tensor:
        index = self.index[site]
        down_bias, up_bias = self._biases[index]
        code_BTb = self._projected(self.drop(h_BTd), self._down[index], down_bias).relu_()
        return torch.add(h_BTd, self._projected(code_BTb, self._up[index], up_bias), alpha=self.scale)

    def _projected(self, x: Tensor, halves: Half, bias: Tensor) -> Tensor:
        return apply_halves(x, halves) + bias


METHOD = LorettaAdp
