"""LoRETTA_rep: LoRA whose two factors are tensor trains.

Shapes: i in_features, o out_features, b bottleneck, R TT rank.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from trainers.adapters.sites import Site
from trainers.adapters.tensor_shapes import digits_of
from trainers.adapters.tensor_train import CLASSIFIER, TensorTrain, TensorTrainMethod
from trainers.api import MethodCard, Setting


class LorettaRep(TensorTrainMethod):
    """`x ΔW^T = (α/b) x D U` with D (i, b) and U (b, o) tensor trains of rank R (Yang et al. 2024, arXiv 2402.11417).

    The trains are contracted to D and U once per forward pass, so a site costs what LoRA of rank b costs. No core starts at zero:
    every entry of D and U starts with variance 1/(rows + columns), and ΔW(0) is not zero. The paper removes the mean of ΔW(0) from
    the pretrained weight (`init_correction: mean`); the published code does not (`none`); `full` removes ΔW(0) itself. Corrections
    are constant low-rank terms of the update, so merging and the export as LoRA stay exact, with rank b + 1 or 2 b.

    Upstream also trains all normalisation layers and, for classification, holds the head's dense layer as a tensor train: here the
    sweep's `also_train: [norms]` and the setting `classifier: tt`, with which the published counts agree. Dropout is the sweep's
    (0.05 upstream).
    """

    card = MethodCard(
        name="loretta_rep",
        family="tensor",
        reference="arXiv 2402.11417",
        source="yifanycc/loretta@c66bbb3 loretta/loretta/tuners/loretta_rep.py, tensor_layers/layers.py, utils/tensor_util.py",
        capacity=("rank", "bottleneck"),
        capacity_defaults={"bottleneck": 8},
        settings={
            "alpha": Setting(16.0, doc="numerator of the scaling α/b; 16 upstream"),
            "shape": Setting([], doc="digits k_j of both trains; empty for the published lists"),
            "init_correction": Setting("none", ("none", "mean", "full"), "what is removed of the update's start ΔW(0)"),
            "classifier": CLASSIFIER,
        },
        starts_as="other",
        packable=True,
        exports_lora=True,
    )
    # The update starts large, and its rounding with it.
    groupable = False

    def build(self, base: nn.Module) -> None:
        """Create the trains, those of equal shape in one batch."""
        smallest = min(min(s.in_features, s.out_features) for s in self.sites)
        self.bottleneck = self.rank_within("bottleneck", smallest, "the smaller side of the smallest adapted matrix")
        self.scaling = self.scale * self.settings["alpha"] / self.bottleneck
        sizes = {size for site in self.sites for size in (site.in_features, site.out_features)}
        digits = {size: digits_of(self.card.name, size, self.bottleneck, self.settings["shape"]) for size in sorted(sizes)}
        rank = self.rank_of(list(digits.values()))
        self.down, self.up = nn.ModuleDict(), nn.ModuleDict()
        for size in digits:
            if count := sum(site.in_features == size for site in self.sites):
                self.down[str(size)] = TensorTrain(count, size, self.bottleneck, digits[size], rank)
            if count := sum(site.out_features == size for site in self.sites):
                self.up[str(size)] = TensorTrain(count, self.bottleneck, size, digits[size], rank)
        self.build_classifier(base, rank)

    def initialise(self, generator: torch.Generator, base: nn.Module) -> None:
        """Draw all cores; keep what a correction removes."""
        for module in self.modules():
            if isinstance(module, TensorTrain):
                module.initialise(generator)
        if self.settings["init_correction"] != "none":
            with torch.no_grad():
                self._keep_start()

    def _keep_start(self) -> None:
        """Keep minus the mean or the whole of ΔW(0), as one more pair of factors per site."""
        for site, pair in self._contracted().items():
            a_ri, b_or = self._removed(site, *pair)
            self.register_buffer(f"start_a_{site.key}", a_ri.clone(), persistent=False)
            self.register_buffer(f"start_b_{site.key}", -b_or, persistent=False)

    def _removed(self, site: Site, a_ri: Tensor, b_or: Tensor) -> tuple[Tensor, Tensor]:
        if self.settings["init_correction"] == "full":
            return a_ri, b_or
        mean = a_ri.sum(1) @ b_or.sum(0) / (site.in_features * site.out_features)
        return torch.ones(1, site.in_features), mean.expand(site.out_features, 1)

    def prepare(self) -> None:
        """Contract all trains to the factors of LoRA."""
        super().prepare()
        self._factors = self._contracted()
        if self.settings["init_correction"] != "none":
            self._factors = {site: self._corrected(site, *pair) for site, pair in self._factors.items()}

    def _contracted(self) -> dict[Site, tuple[Tensor, Tensor]]:
        down, up = _transposed(self.down), _transposed(self.up, self.scaling)
        return {site: (next(down[str(site.in_features)]), next(up[str(site.out_features)])) for site in self.sites}

    def _corrected(self, site: Site, a_ri: Tensor, b_or: Tensor) -> tuple[Tensor, Tensor]:
        start_a, start_b = self.get_buffer(f"start_a_{site.key}"), self.get_buffer(f"start_b_{site.key}")
        return torch.cat([a_ri, start_a]), torch.cat([b_or, start_b], 1)

    def factors(self, site: Site) -> tuple[Tensor, Tensor]:
        """Return D^T and (α/b) U^T, with the correction's rows and columns behind them."""
        return self._factors[site]


def _transposed(trains: nn.ModuleDict, factor: float = 1.0) -> dict[str, Iterator[Tensor]]:
    """Return the matrices of trains by size, transposed."""
    return {size: iter((factor * train.matrices()).mT.unbind()) for size, train in trains.items() if isinstance(train, TensorTrain)}


METHOD = LorettaRep
