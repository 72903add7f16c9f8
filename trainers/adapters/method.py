"""The base class of PEFT methods: parameters over a list of sites, and what each adds to its matrix.

Shapes: B batch, T tokens, i in_features, o out_features, r rank.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from search_spaces.errors import CapacityError, NotApplicableError
from trainers.adapters.choices import checked_capacity, checked_settings
from trainers.adapters.copies import ParameterCopies
from trainers.adapters.sites import Site, own_roles
from trainers.api import MethodCard

Side = Literal["input", "output"]


class Method(nn.Module):
    """A PEFT method on the sites of one model.

    A subclass lives in `trainers/methods/<name>.py`, declares a `card`, creates its parameters in `build` and gives either
    `factors` (low-rank methods: everything else follows) or `delta` and `weight` (additive methods) or `transform` and `enter`.
    Parameters and arithmetic are fp32, whatever the base is stored in.

    Attributes:
        sites: the adapted matrices.
        capacity: capacity keys and values.
        settings: structural settings, defaults filled in.
        scale: multiplies the method's default scaling.
        dropout: probability of dropout. Shared code applies it to the input at the sites, unless `drops_input` is False.
        generator: draws the initial values; None while counting.
        copies: parameters of the base that the method trains by definition; they stand in for the base's own.
        drop: the trial's dropout, for a method that applies it itself.
    """

    card: ClassVar[MethodCard]
    drops_input: ClassVar[bool] = True
    """Whether dropout acts on the adapter's input; a method whose definition puts it elsewhere calls `self.drop` there."""
    groupable: ClassVar[bool] = True
    """Whether several trials may compute their updates in one product, as far as the method leaves that to this class. A product of many
    rounds differently than one by one; off where such an error is not small beside the step."""
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
        self.copies: ParameterCopies | None = None
        self.drop: Callable[[Tensor], Tensor] = nn.Identity()
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

    def code(self, x_BTi: Tensor, site: Site) -> tuple[Tensor, Tensor]:
        """Return the low-dimensional code (B, T, r) of the input, and the matrix (o, r) that maps it to the output.

        From `factors` by default; overridden where something acts between the two, or where that is cheaper. An output of k equal
        blocks that share one matrix has the code (B, T, k, r) and the matrix (o / k, r).
        """
        a_ri, b_or = self.factors(site)
        return nn.functional.linear(x_BTi, a_ri), b_or

    def delta(self, x_BTi: Tensor, site: Site) -> Tensor:
        """Return the update's contribution `x ΔW^T`, (B, T, o)."""
        code_BTr, b_or = self.code(x_BTi, site)
        return nn.functional.linear(code_BTr, b_or).flatten(x_BTi.dim() - 1)

    def transform(self, x_BTi: Tensor, y_BTo: Tensor, site: Site) -> Tensor:
        """Return the adapted output from the input `x` and the base's output `y`, which may be overwritten."""
        if type(self).delta is not Method.delta or y_BTo.dtype != x_BTi.dtype:
            return y_BTo + self.delta(x_BTi, site)
        code_BTr, b_or = self.code(x_BTi, site)
        # One pass over y instead of three; a matrix product never needs its own output again.
        y_BTo.view(-1, len(b_or)).addmm_(code_BTr.flatten(0, -2), b_or.T)
        return y_BTo

    def enter(self, x_BTi: Tensor, site: Site) -> Tensor:
        """Return what takes the place of the matrix's own input, for the sites whose `sides` name it."""
        raise NotImplementedError(f"{self.card.name} does not act on inputs")

    def sides(self, site: Site) -> tuple[Side, ...]:
        """Return where the method acts on a site: on the matrix's output (`transform`), its input (`enter`), or both."""
        return ("output",)

    @classmethod
    def roles(cls, targets: Sequence[str], settings: Mapping[str, Any], present: Sequence[str]) -> tuple[str, ...]:
        """Return the roles of the matrices that the method acts on.

        By default those of the sweep, or the card's, as far as the architecture has them. A method whose positions are part of its
        definition returns these.

        Args:
            targets: the roles that the sweep names; empty for none.
            settings: structural settings, defaults filled in.
            present: the roles that the architecture has.

        Raises:
            NotApplicableError: the architecture has a default role as part of a fused matrix only.
        """
        return tuple(targets) or own_roles(cls.card.default_targets, present)

    def weight(self, site: Site) -> Tensor:
        """Return the update `ΔW` (o, i) as a dense matrix: for merging and tests, never in training."""
        a_ri, b_or = self.factors(site)
        return b_or @ a_ri

    # ------------------------------------------------------------------------------------------------------------ hooks

    def prepare(self) -> None:
        """Contract shared factors, once per forward pass of the whole model."""

    def release(self) -> None:
        """Let go of what matrices that read one tensor have shared, after each forward pass of the whole model."""

    def before_step(self, step: int, steps: int) -> None:
        """Act before optimiser step `step` (from 0) of `steps`.

        A parameter whose `requires_grad` is switched off here keeps its value in this step: neither momentum nor weight decay move it.
        """

    def after_step(self, step: int, steps: int) -> None:
        """Act right after an optimiser step; the parameters still have the gradients that it used, clipped."""

    def trains_at_start(self) -> tuple[str, ...]:
        """Return the parameters, as name patterns, that may have a gradient in the first step: the card's, unless settings change that."""
        return self.card.trains_at_start

    def complete(self, taken: int, steps: int) -> bool:
        """Tell whether the state after `taken` of `steps` steps has the capacity it is compared at, so that it may be the one kept.

        The state after the last step is kept if no other is.
        """
        return True

    def trains_head(self, step: int, steps: int) -> bool:
        """Tell whether the classification head is trained in this step."""
        return True

    def head_names(self, names: Sequence[str]) -> Sequence[str]:
        """Return which of the base's head parameters are trained as they are; by default all, as for every method."""
        return names

    def frozen_head_names(self, names: Sequence[str]) -> Sequence[str]:
        """Return which of the base's head parameters start as every head does and are stored with it, but are not trained."""
        return ()

    def merged_head(self, head: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the parameters of the base's head, by name, with the method's own part of it folded in.

        Args:
            head: those that are trained as they are, or frozen, in the adapter's dtype.
        """
        return dict(head)

    def extra_names(self, names: Sequence[str]) -> Sequence[str]:
        """Return which of the norms and biases that the sweep trains beside every adapter are left to it: those without a copy here."""
        copied = self.copies.names if self.copies is not None else ()
        return [name for name in names if name not in copied]

    def penalty(self) -> Tensor | None:
        """Return a regulariser that is part of the method's definition, added to the loss of every step."""
        return None

    def replaced(self) -> dict[str, Tensor]:
        """Return tensors that stand in for the base's parameters of these names during a forward pass."""
        return self.copies.cast() if self.copies is not None else {}

    def virtual_tokens(self) -> int:
        """Return the number of tokens put before the text."""
        return 0

    def with_virtual_tokens(self, base: nn.Module, inputs: dict[str, Any]) -> dict[str, Any]:
        """Return the base's inputs with the virtual tokens put before the text: by embeddings or by a filled cache.

        The attention mask and the positions already count the virtual tokens.
        """
        raise NotImplementedError(f"{self.card.name} has no virtual tokens")

    def install(self, base: nn.Module, adapt: Callable[[nn.Module, Site], None]) -> None:
        """Attach to the base: by default, call `adapt` for the module of every site, which hooks `transform` and `enter` in."""
        for site in self.sites:
            adapt(base.get_submodule(site.path), site)

    def unmergeable(self) -> str | None:
        """Return why the adapter cannot be folded into the weights of this base; None where it can."""
        return None if self.card.mergeable else "it is not a change of the base's weights"

    def merged(self, base: nn.Module) -> dict[str, Tensor]:
        """Return the parameters of the base that change when the adapter is folded into them, by name, in the base's dtype."""
        changed = self.copies.cast() if self.copies is not None else {}
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
            message = f"{self.card.name}: {key} {value!r} is not valid. Valid: a whole number from 1 to {limit} ({what})"
            raise CapacityError(message, key, range(1, limit + 1))
        return value


def kaiming_uniform_(tensor: Tensor, fan_in: int, generator: torch.Generator, a: float = math.sqrt(5)) -> None:
    """Fill with U(-b, b), b = √(6 / ((1 + a²) fan_in)), as `torch.nn.init.kaiming_uniform_` but from a given generator."""
    bound = math.sqrt(6 / ((1 + a * a) * fan_in))
    with torch.no_grad():
        tensor.uniform_(-bound, bound, generator=generator)
