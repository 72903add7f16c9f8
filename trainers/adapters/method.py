"""The base class of PEFT methods: parameters over a list of sites, and what each adds to its matrix.

Shapes: B batch, T tokens, i in_features, o out_features, r rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from search_spaces.errors import CapacityError, NotApplicableError
from trainers.adapters.choices import checked_capacity, checked_settings
from trainers.adapters.sites import Site
from trainers.api import MethodCard


class Method(nn.Module):
    """A PEFT method on the sites of one model.

    A subclass lives in `trainers/methods/<name>.py`, declares a `card`, creates its parameters in `build` and gives either
    `factors` (low-rank methods: everything else follows) or `delta` and `weight` (additive methods) or `transform`.
    Parameters and arithmetic are fp32, whatever the base is stored in.

    Attributes:
        sites: the adapted matrices.
        capacity: capacity keys and values.
        settings: structural settings, defaults filled in.
        scale: multiplies the method's default scaling.
        dropout: dropout on the adapter's input. Shared code applies it at the sites; a method with layers of its own, there.
        generator: draws the initial values; None while counting.
    """

    card: ClassVar[MethodCard]
    replaces_base: ClassVar[bool] = False
    """Whether `replaced` covers the whole base, so that norms and biases need no copies of their own."""
    reads_model: ClassVar[bool] = False
    """Whether `build` needs the model's own classes, also for counting, where otherwise modules with the right shapes will do."""

    def __init__(
        self,
        base: nn.Module,
        sites: Sequence[Site],
        capacity: Mapping[str, Any],
        settings: Mapping[str, Any],
        scale: float = 1.0,
        generator: torch.Generator | None = None,
        dropout: float = 0.0,
    ) -> None:
        """Create the parameters and, when a generator is given, fill them; without one (counting) they stay empty.

        Raises:
            UnknownNameError: a capacity key or setting that the method does not have.
            CapacityError: a capacity or setting that is missing, or that these matrices do not admit.
            NotApplicableError: a base or sites that the method's definition does not cover.
        """
        super().__init__()
        self.sites = tuple(sites)
        self.capacity = checked_capacity(self.card, capacity)
        self.settings = checked_settings(self.card, settings)
        self.scale, self.dropout = scale, dropout
        self.generator = generator
        self.build(base)
        if generator is not None:
            self.initialise(generator, base)

    # ------------------------------------------------------------------------------------------------ to be implemented

    def build(self, base: nn.Module) -> None:
        """Create the parameters, uninitialised (they may live on the meta device).

        `base` is there for its config and its parameters' names and shapes; it must not become a submodule.
        """
        raise NotImplementedError

    def initialise(self, generator: torch.Generator, base: nn.Module) -> None:
        """Fill the parameters, drawing from `generator` only. `base` is there for methods that start from its weights."""
        raise NotImplementedError

    def factors(self, site: Site) -> tuple[Tensor, Tensor]:
        """Return A (r, i) and B (o, r), scaling included, with the update `ΔW = B A`."""
        raise NotImplementedError(f"{self.card.name} is not a low-rank method")

    def delta(self, x_BTi: Tensor, site: Site) -> Tensor:
        """Return the update's contribution `x ΔW^T`, (B, T, o)."""
        a_ri, b_or = self.factors(site)
        return nn.functional.linear(nn.functional.linear(x_BTi, a_ri), b_or)

    def transform(self, x_BTi: Tensor, y_BTo: Tensor, site: Site) -> Tensor:
        """Return the adapted output from the input `x` and the base's output `y`."""
        return y_BTo + self.delta(x_BTi, site)

    def weight(self, site: Site) -> Tensor:
        """Return the update `ΔW` (o, i) as a dense matrix: for merging and tests, never in training."""
        a_ri, b_or = self.factors(site)
        return b_or @ a_ri

    # ------------------------------------------------------------------------------------------------------------ hooks

    def prepare(self) -> None:
        """Contract shared factors, once per forward pass of the whole model."""

    def before_step(self, step: int, steps: int) -> None:
        """Act before optimiser step `step` (from 0) of `steps`."""

    def after_step(self, step: int, steps: int) -> None:
        """Act after an optimiser step. The optimiser may have cleared the gradients: keep those that are needed by a hook."""

    def penalty(self) -> Tensor | None:
        """Return a regulariser that is part of the method's definition, added to the loss of every step."""
        return None

    def replaced(self) -> dict[str, Tensor]:
        """Return tensors that stand in for the base's parameters of these names during a forward pass."""
        return {}

    def virtual_tokens(self) -> int:
        """Return the number of tokens put before the text."""
        return 0

    def with_virtual_tokens(self, base: nn.Module, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return the base's inputs with the virtual tokens put before the text: by embeddings or by a filled cache.

        The attention mask and the positions already count the virtual tokens.
        """
        raise NotImplementedError(f"{self.card.name} has no virtual tokens")

    def install(self, base: nn.Module, adapt: Callable[[nn.Module, Site], None]) -> None:
        """Attach to the base: by default, call `adapt` for the module of every site."""
        for site in self.sites:
            adapt(base.get_submodule(site.path), site)

    def merged(self, base: nn.Module) -> dict[str, Tensor]:
        """Return the parameters of the base that change when the adapter is folded into them, by name, in the base's dtype."""
        changed = {}
        for site in self.sites:
            update, own = self.weight(site), base.get_submodule(site.path).get_parameter("weight")
            changed[f"{site.path}.weight"] = (own.to(update.dtype) + update).to(own.dtype)
        return changed

    def stored(self) -> dict[str, Tensor]:
        """Return what is written to disk, by name: enough for inference, given capacity, settings, seed and the base.

        A paused trial keeps `AdaptedModel.trainable()` instead: what serves training only, such as a prompt's encoder, may be
        missing here.
        """
        return {name: p.detach() for name, p in self.named_parameters()}

    def training_state(self) -> dict[str, Tensor]:
        """Return what the method's hooks remember from step to step, for the checkpoint of a running trial; parameters left out."""
        return {}

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `training_state` returned."""

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `stored` returned."""
        own = dict(self.named_parameters())
        with torch.no_grad():
            for name, tensor in state.items():
                own[name].copy_(tensor)

    def write_peft(self, folder: Path, base_id: str) -> None:
        """Write the adapter in HF PEFT's own format, for methods that HF PEFT knows.

        Raises:
            NotApplicableError: HF PEFT has no such method.
        """
        raise NotApplicableError(
            f"HF PEFT has no tuner for {self.card.name}. Fix: export it as merged, or in fairsweep's own adapter folder"
        )

    # ---------------------------------------------------------------------------------------------------------- helpers

    def rank_within(self, key: str, limit: int, what: str) -> int:
        """Return the capacity `key`, checked to be a whole number in 1..limit.

        Raises:
            CapacityError: it is not; the message names the limit and where it comes from.
        """
        value = self.capacity[key]
        if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= limit:
            raise CapacityError(f"{self.card.name}: {key} {value!r} is not valid. Valid: a whole number from 1 to {limit} ({what})")
        return value


def kaiming_uniform_(tensor: Tensor, fan_in: int, generator: torch.Generator, a: float = math.sqrt(5)) -> None:
    """Fill with U(-b, b), b = √(6 / ((1 + a²) fan_in)), as `torch.nn.init.kaiming_uniform_` but from a given generator."""
    bound = math.sqrt(6 / ((1 + a * a) * fan_in))
    with torch.no_grad():
        tensor.uniform_(-bound, bound, generator=generator)
