"""Rank allocation: methods that start with more components than they end with, and take the least important out while they train.

Shapes: N sites, n sites with factors of one shape, r components of a site, k inner rank (r, or another), i in_features, o out_features.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol

import torch
from torch import Tensor, distributed, nn

from search_spaces.errors import CapacityError
from trainers.adapters.method import Method
from trainers.adapters.sites import Site
from trainers.adapters.stacks import Stack
from trainers.api import Setting

INIT_RATIO = Setting(
    1.5, at_least=1, doc="components at the start over those at the end, on average per matrix; their number is rounded up"
)
ROUNDING = 1e-9
"""Above the rounding error of a ratio times a rank: 1.1 times 10 is 11.000000000000002."""


class Schedule(Protocol):
    """Which steps (from 0) look at importance, and how many components are out after each."""

    def observes(self, step: int) -> bool:
        """Tell whether the step's importance enters the score."""

    def drops(self, step: int) -> int | None:
        """Return how many components the step takes out, the least important of all; None where it takes none."""

    def settles(self, step: int) -> bool:
        """Tell whether the choice of this step is final."""


class AllocatedMethod(Method):
    """Base of methods that chain two factors through a diagonal, and take components out by setting entries of it to zero.

    An entry that was set to zero still has a gradient, so a component may come back until the choice is final; from then on the
    same entries are set to zero after every step. The stored adapter keeps all components, zeros among them.

    Attributes:
        down: factors on the inputs, (k, i) each.
        diagonal: (N, r) one entry per component.
        up: factors on the outputs, (o, k) each.
        rank: r, components per site at the start.
        scaling: factor of the update, the trial's scale included.
        dropped: (N, r) True for a component that is out for good; None while the choice is open.
    """

    down: Stack
    diagonal: nn.Parameter
    up: Stack
    rank: int
    scaling: float
    dropped: Tensor | None = None

    def create(self, inner: int, rank: int) -> None:
        """Create the two factors and the diagonal of every site, uninitialised."""
        self.rank = rank
        self._index = {site.key: n for n, site in enumerate(self.sites)}
        self.down = Stack([(inner, s.in_features) for s in self.sites])
        self.diagonal = nn.Parameter(torch.empty(len(self.sites), rank))
        self.up = Stack([(s.out_features, inner) for s in self.sites])

    def folded(self) -> Sequence[Tensor]:
        """Return the down factors with all that acts between them and the up factors, (n, k, i) by shape; by default scaling · diagonal."""
        entries = self.down.split(self.scaling * self.diagonal)
        return [down_nki * entries_nk[..., None] for down_nki, entries_nk in zip(self.down.values(), entries, strict=True)]

    def prepare(self) -> None:
        """Fold all that acts in the middle into the down factors, for all sites at once: a site then costs what plain LoRA costs."""
        self._down, self._up = self.down.by_site(self.folded()), self.up.by_site()

    def factors(self, site: Site) -> tuple[Tensor, Tensor]:
        """Return the folded down factor (k, i) and the up factor (o, k)."""
        index = self._index[site.key]
        return self._down[index], self._up[index]

    def schedule(self, steps: int) -> Schedule:
        """Return the schedule of a training of `steps` optimiser steps."""
        raise NotImplementedError

    def observe(self) -> None:
        """Take this step's parameters and gradients into the scores."""
        raise NotImplementedError

    def importance(self) -> Tensor:
        """Return the scores (N, r)."""
        raise NotImplementedError

    def forget(self) -> None:
        """Let go of what only the scores needed."""

    def after_step(self, step: int, steps: int) -> None:
        """Score the components, and set to zero those that are out."""
        schedule = self.schedule(steps)
        with torch.no_grad():
            if self.dropped is None and schedule.observes(step):
                self.observe()
            if self.dropped is None and (count := schedule.drops(step)) is not None:
                out = lowest(self.importance(), count)
                self.diagonal.masked_fill_(out, 0.0)
                if schedule.settles(step):
                    self.dropped = out
                    self.forget()
            elif self.dropped is not None:
                self.diagonal.masked_fill_(self.dropped, 0.0)

    def complete(self, taken: int, steps: int) -> bool:
        """Tell whether the choice is final: before, the adapter has more components than its rank says."""
        return self.dropped is not None

    def training_state(self) -> dict[str, Tensor]:
        """Return the final choice, once there is one."""
        return {} if self.dropped is None else {"dropped": self.dropped}

    def load_training_state(self, state: Mapping[str, Tensor]) -> None:
        """Take back the final choice."""
        self.dropped = state["dropped"].to(self.diagonal.device) if "dropped" in state else None

    def initial_rank(self) -> int:
        """Return the components per matrix at the start: the capacity `rank` times the setting `init_ratio`, rounded up.

        Raises:
            CapacityError: a rank whose start does not fit the smallest matrix.
        """
        ratio: float = self.settings["init_ratio"]
        smallest = min(min(s.in_features, s.out_features) for s in self.sites)
        limit = int((smallest + ROUNDING) / ratio)
        rank = self.rank_within("rank", limit, f"init_ratio {ratio} times it is at most {smallest}, the smallest side")
        return math.ceil(rank * ratio - ROUNDING)

    def check_shares(self) -> None:
        """Check that the settings `warmup` and `final` leave steps to allocate in.

        Raises:
            CapacityError: they do not.
        """
        warmup, final = self.settings["warmup"], self.settings["final"]
        if warmup + final >= 1:
            raise CapacityError(f"{self.card.name}: warmup {warmup} and final {final} leave no step between them. Valid: a sum below 1")


def lowest(scores: Tensor, count: int) -> Tensor:
    """Tell which scores are at most the `count`-th smallest of all: as many, and those that tie with the last."""
    return scores <= scores.flatten().kthvalue(count).values if count > 0 else torch.zeros_like(scores, dtype=torch.bool)


def average_over_workers(tensors: Sequence[Tensor]) -> None:
    """Replace each tensor by its mean over the workers of a distributed training, so that all of them choose alike."""
    if (count := workers()) == 1:
        return
    for tensor in tensors:
        distributed.all_reduce(tensor)
        tensor.div_(count)


def workers() -> int:
    """Return how many workers train together."""
    return distributed.get_world_size() if distributed.is_initialized() else 1
