"""Structured maps in two positions: as the update of a matrix, as in LoRA, or as an adapter behind it.

Shapes: B batch, T tokens, N maps, i in_features, o out_features, n width.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.errors import CapacityError, NotApplicableError
from trainers.adapters.after_dropout import adapt_behind_dropout
from trainers.adapters.method import Method
from trainers.adapters.sites import Site, find_sites, roles_of
from trainers.api import Setting

POSITION = Setting("lora", ("lora", "adapter"), "`lora`: update of the targets; `adapter`: map behind attention and feed-forward outputs")
TRAINABLE_ALPHA = Setting(
    False, (False, True), "whether a factor α per map is learned, from 0, instead of 1; in LoRA position. No vector starts at zero then"
)
ADAPTED = ("o", "fc2", "down")
"""Roles of the matrices behind which adapters stand, whatever the architecture."""


class StructuredMethod(Method):
    """Maps M of few parameters: `y + s α M drop(x)` in LoRA position, `h + s gelu(M drop(h)) + bias` in adapter position.

    Adapters act on the outputs h of the attention's and the feed-forward's last matrix, after the base's own dropout (on OPT before it)
    and before residual sum and normalisation. A subclass creates its parameters in `build_maps`, and gives `product` and, for merging,
    `matrix`.
    """

    drops_input = False
    alpha: nn.Parameter | None
    bias: nn.Parameter | None

    @classmethod
    def roles(cls, targets: Sequence[str], settings: Mapping[str, Any], present: Sequence[str]) -> tuple[str, ...]:
        """Return the targets in LoRA position; in adapter position the definition's."""
        if settings["position"] == "lora":
            return super().roles(targets, settings, present)
        return tuple(role for role in ADAPTED if role in present)

    def build(self, base: nn.Module) -> None:
        """Create the maps, and the biases of adapters.

        Raises:
            CapacityError: a learned factor in adapter position.
            NotApplicableError: matrices that the maps are not defined for.
        """
        self.is_adapter = self.settings["position"] == "adapter"
        self.index = {site: n for n, site in enumerate(self.sites)}
        trains_alpha = self.settings.get("trainable_alpha", False)
        if trains_alpha and self.is_adapter:
            raise CapacityError(f"{self.card.name}: trainable_alpha true is not valid with position: adapter. Valid: false")
        self.build_maps(base)
        self.alpha = nn.Parameter(torch.empty(self.alpha_shape())) if trains_alpha else None
        self.bias = nn.Parameter(torch.empty(len(self.sites), self.sites[0].out_features)) if self.is_adapter else None

    def trains_at_start(self) -> tuple[str, ...]:
        """Return the vectors that start at zero, and the biases of adapters; only the learned factors where there are any."""
        if self.alpha is not None:
            return ("alpha",)
        return (*self.card.trains_at_start, "bias") if self.is_adapter else self.card.trains_at_start

    def initialise(self, generator: torch.Generator, base: nn.Module) -> None:
        """Set biases and learned factors to zero; draw the maps."""
        for parameter in (self.alpha, self.bias):
            if parameter is not None:
                nn.init.zeros_(parameter)
        self.initialise_maps(generator)

    # ------------------------------------------------------------------------------------------------ to be implemented

    def build_maps(self, base: nn.Module) -> None:
        """Create the parameters of the maps."""
        raise NotImplementedError

    def alpha_shape(self) -> tuple[int, ...]:
        """Return the shape of the learned factors, which multiply vectors (N, ..., n)."""
        return len(self.sites), 1

    def initialise_maps(self, generator: torch.Generator) -> None:
        """Fill the maps' parameters: such that M is zero, unless α is."""
        raise NotImplementedError

    def product(self, x_BTi: Tensor, site: Site) -> Tensor:
        """Return `M x`, in LoRA position with s α."""
        raise NotImplementedError

    def matrix(self, site: Site) -> Tensor:
        """Return the same M as a dense matrix (o, i)."""
        raise NotImplementedError

    # --------------------------------------------------------------------------------------------------------- the update

    def install(self, base: nn.Module, adapt: Callable[[nn.Module, Site], None]) -> None:
        """Attach updates to the matrices, and adapters behind the dropout that follows them."""
        if self.is_adapter:
            adapt_behind_dropout(base, self.sites, adapt)
        else:
            super().install(base, adapt)

    def factor(self) -> Tensor | float:
        """Return s α in LoRA position, 1 in adapter position, where s multiplies the activation's output."""
        if self.is_adapter:
            return 1.0
        return self.scale if self.alpha is None else self.scale * self.alpha

    def prepare(self) -> None:
        """Take the biases apart."""
        self._biases = () if self.bias is None else self.bias.unbind()

    def delta(self, x_BTi: Tensor, site: Site) -> Tensor:
        """Return the update's contribution in LoRA position."""
        return self.product(self.drop(x_BTi), site)

    def transform(self, x_BTi: Tensor, y_BTo: Tensor, site: Site) -> Tensor:
        """Return the adapted output."""
        if not self.is_adapter:
            return super().transform(x_BTi, y_BTo, site)
        h_BTo = y_BTo.to(x_BTi.dtype)
        activation = nn.functional.gelu(self.product(self.drop(h_BTo), site))
        return torch.add(h_BTo + self._biases[self.index[site]], activation, alpha=self.scale)

    def weight(self, site: Site) -> Tensor:
        """Return the update in LoRA position."""
        return self.matrix(site)

    def unmergeable(self) -> str | None:
        """Return why adapters cannot be merged; an update of a matrix can."""
        return "position: adapter puts an activation behind the map" if self.is_adapter else super().unmergeable()

    # ---------------------------------------------------------------------------------------------------------- helpers

    def draw(self, parameter: Tensor, deviation: float, generator: torch.Generator) -> None:
        """Fill with N(0, deviation²); in adapter position with N(0, 0.02²), as upstream."""
        nn.init.normal_(parameter, std=0.02 if self.is_adapter else deviation, generator=generator)

    def draw_last(self, parameter: Tensor, deviation: float, generator: torch.Generator) -> None:
        """Fill the vectors that make M zero at the start; draw them where α is zero, or nothing would ever have a gradient."""
        if self.alpha is None:
            nn.init.zeros_(parameter)
        else:
            self.draw(parameter, deviation, generator)

    def square_size(self, base: nn.Module) -> int:
        """Return the size of the maps, which are square.

        Raises:
            NotApplicableError: in LoRA position, a matrix that is not square.
        """
        for site in self.sites:
            if not (self.is_adapter or _is_square(site)):
                fitting = [role for role in roles_of(base) if all(map(_is_square, find_sites(base, [role])))]
                raise NotApplicableError(
                    f"{self.card.name} is defined for square matrices; {site.path} is {site.out_features} x {site.in_features}. "
                    + (f"Fix: targets: [{', '.join(fitting)}], or position: adapter" if fitting else "Fix: position: adapter")
                )
        return self.sites[0].out_features


def _is_square(site: Site) -> bool:
    return site.in_features == site.out_features
