"""DynaLoRA: LoRA of which a few modules at a time are trained.

Shapes: B batch, T tokens, i in_features, o out_features, N sites.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from trainers.adapters.allocation import average_over_workers, workers
from trainers.adapters.draws import derived_generator
from trainers.adapters.pairs import PairMethod
from trainers.adapters.sites import Site
from trainers.api import MethodCard, Setting

_SMALLEST = 1e-6
"""Importance at the start, so that before the first forward pass all modules are alike."""
_SHARE_OF_UNUSED = 0.01
"""Added to the number of uses that the scaled multinomial divides by."""


class Dynalora(PairMethod):
    """LoRA, `ΔW = (α/r) B A`, with `active` of its N modules trained at a time (Brouwers et al., Dynamic Low-Rank Module Allocation).

    A module that is not active keeps its values and still adds its update. The importance of a module accumulates over the whole
    training: the L2 norm of its whole output, once per forward pass (`output`), or those of the gradients of A and B, after clipping,
    once per step in which it is active (`gradient`). Allocators: `topk` takes the most important; `threshold` the most important until
    they hold the share `mass` of all importance, `active` of them at most; `multinomial` draws by importance without replacement;
    `scaled_multinomial` by importance / (C + 0.01), C the forward passes in which the module was active; `random` draws evenly. Modules
    are chosen at step 0, when all are alike (`topk` and `threshold` then take the first), and again every `interval` steps
    (`periodic`) or once after so many (`once`).

    Draws have a generator of their own and importance is averaged over the workers, so that all choose alike. There is one optimiser;
    the published variant with one per module is left out. Over time every module may be trained, hence all count as trainable;
    `active_parameters` is the number that the publication states. A starts Kaiming-uniform (a=√5), B zero.
    """

    card = MethodCard(
        name="dynalora",
        family="dynamic",
        reference="Brouwers, Fülöp, Hamar and Krastev, Dynamic Low-Rank Module Allocation",
        source="m-krastev/dynalora@c2dd88f allocator.py, schedule.py, layer.py",
        capacity=("rank", "active"),
        capacity_defaults={"active": 16},  # of 24 in the published table
        settings={
            "allocator": Setting("scaled_multinomial", ("topk", "threshold", "multinomial", "scaled_multinomial", "random")),
            "importance": Setting("output", ("output", "gradient"), "whose norms make a module important"),
            "schedule": Setting("periodic", ("periodic", "once"), "how often modules are chosen after the start"),
            "interval": Setting(50, at_least=1, doc="optimiser steps between two choices; 50 in the published table, 100 in its search"),
            "mass": Setting(0.9, above=0, at_most=1, doc="share of the importance that `threshold` takes"),
            "alpha": Setting(16.0, doc="numerator of the scaling α/r"),
        },
        trains_at_start=("up.*",),
        packable=True,
        exports_lora=True,
        freezes=True,
    )

    def build(self, base: torch.nn.Module) -> None:
        """Create the factors of all modules.

        Raises:
            CapacityError: more active modules than there are.
        """
        super().build(base)
        count = len(self.sites)
        self.active = self.rank_within("active", count, "the number of adapted matrices")
        self.is_active = torch.ones(count, dtype=torch.bool)
        self.uses = torch.zeros(count, dtype=torch.float64)
        self.register_buffer("scores", torch.full((count,), _SMALLEST), persistent=False)
        self._index = {site.key: n for n, site in enumerate(self.sites)}

    def initialise(self, generator: torch.Generator, base: torch.nn.Module) -> None:
        """Draw A, and the seed of the choices; set B to zero."""
        super().initialise(generator, base)
        self.draws = derived_generator(generator)

    @property
    def active_parameters(self) -> int:
        """The most parameters that are trained at one time."""
        sizes = sorted((self.rank * (s.in_features + s.out_features) for s in self.sites), reverse=True)
        return sum(sizes[: self.active])

    def transform(self, x_BTi: Tensor, y_BTo: Tensor, site: Site) -> Tensor:
        """Add the update, and note the norm of the whole output."""
        adapted_BTo = super().transform(x_BTi, y_BTo, site)
        if self.training:
            index = self._index[site.key]
            self.uses[index] += self.is_active[index] * workers()
            if self.settings["importance"] == "output":
                scores_N = self.get_buffer("scores")
                scores_N[index] += torch.linalg.vector_norm(adapted_BTo.detach(), dtype=scores_N.dtype)
        return adapted_BTo

    def before_step(self, step: int, steps: int) -> None:
        """Choose the modules of the coming steps, where that is due."""
        interval = self.settings["interval"]
        if step % interval == 0 and (self.settings["schedule"] == "periodic" or step in (0, interval)):
            self._activate(self._chosen())

    def after_step(self, step: int, steps: int) -> None:
        """Note the norms of the gradients, or bring the workers' norms of outputs together."""
        if self.settings["importance"] == "output":
            average_over_workers([self.get_buffer("scores")])
        if self.settings["importance"] == "gradient":
            scores_N = self.get_buffer("scores")
            for site, active in zip(self.sites, self.is_active.tolist(), strict=True):
                gradients = [p.grad for p in (self.down[site.key], self.up[site.key]) if active and p.grad is not None]
                for gradient in gradients:
                    scores_N[self._index[site.key]] += torch.linalg.vector_norm(gradient)

    def _activate(self, chosen_N: Tensor) -> None:
        self.is_active = chosen_N
        for site, active in zip(self.sites, chosen_N.tolist(), strict=True):
            self.down[site.key].requires_grad_(active)
            self.up[site.key].requires_grad_(active)

    def _chosen(self) -> Tensor:
        """Return which modules (N) become active."""
        shares_N = self.get_buffer("scores").double().cpu()
        shares_N = shares_N / shares_N.sum()
        allocator = self.settings["allocator"]
        if allocator in ("topk", "threshold"):
            indices = self._most_important(shares_N)
        else:
            weights = {"multinomial": shares_N, "scaled_multinomial": shares_N / (self.uses + _SHARE_OF_UNUSED)}
            indices = torch.multinomial(weights.get(allocator, torch.ones_like(shares_N)), self.active, generator=self.draws)
        return torch.zeros(len(self.sites), dtype=torch.bool).index_fill_(0, indices, True)

    def _most_important(self, shares_N: Tensor) -> Tensor:
        ordered_N, indices_N = shares_N.sort(descending=True, stable=True)
        if self.settings["allocator"] == "topk":
            return indices_N[: self.active]
        # A module is needed as long as those before it hold too little.
        needed = int((ordered_N.cumsum(0) - ordered_N < self.settings["mass"]).sum())
        return indices_N[: min(needed, self.active)]

    def training_state(self) -> dict[str, Tensor]:
        """Return the importance, the uses, the active modules, and the state of the generator that chooses them."""
        return {
            "scores": self.get_buffer("scores"),
            "uses": self.uses,
            "is_active": self.is_active,
            "draws": self.draws.get_state(),
        }

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Go on where the stored state was, with the same modules active."""
        self.get_buffer("scores").copy_(state["scores"])
        self.uses.copy_(state["uses"])
        self.draws.set_state(state["draws"])
        self._activate(state["is_active"])


METHOD = Dynalora
