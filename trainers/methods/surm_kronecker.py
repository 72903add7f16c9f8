"""SURM with Kronecker products.

Shapes: B batch, T tokens, i in_features, o out_features, r rank.
"""

from __future__ import annotations

from math import gcd

import torch
from torch import Tensor, nn

from search_spaces.errors import CapacityError
from trainers.adapters.method import kaiming_uniform_
from trainers.adapters.sites import Site
from trainers.adapters.stacks import Stack
from trainers.adapters.structured import POSITION, StructuredMethod
from trainers.api import MethodCard


class SurmKronecker(StructuredMethod):
    """`ΔW = (1/r) B ⊗ A` with A (r, i/r) and B (o/r, r), r a divisor of i and o (Sehanobish et al. 2024, arXiv 2406.17740).

    The number of parameters is i + o whatever r is, so that no parameter budget solves r; the rank of ΔW is at most r². The default, 32,
    is a choice here: near the square root of usual sides, where the rank can be full. A starts Kaiming-uniform (a=√5), B at zero; the
    numerator of the scaling is 1, upstream's default, times `scale`. In adapter position `h + gelu((B ⊗ A) h) + bias` with the same
    shapes, A at N(0, 0.02²); upstream multiplies by the transpose there and takes any two shapes.
    """

    card = MethodCard(
        name="surm_kronecker",
        family="structured",
        reference="arXiv 2406.17740",
        source="arijitthegame/structured-matrices-PEFT@a28432f src/lora/kronecker_lora.py, src/adapter/kronecker_adapter.py",
        capacity=("rank",),
        capacity_defaults={"rank": 32},
        settings={"position": POSITION},
        trains_at_start=("factor_b.*",),
        packable=True,
    )

    def build_maps(self, base: nn.Module) -> None:
        """Create two factors per map.

        Raises:
            CapacityError: a rank that does not divide all sides.
        """
        sides = [(site.out_features if self.is_adapter else site.in_features, site.out_features) for site in self.sites]
        self.rank = self._divisor(gcd(*(side for pair in sides for side in pair)))
        self.factor_a = Stack([(self.rank, entering // self.rank) for entering, _ in sides])
        self.factor_b = Stack([(leaving // self.rank, self.rank) for _, leaving in sides])

    def _divisor(self, common: int) -> int:
        rank = self.capacity["rank"]
        divisors = [number for number in range(1, common + 1) if common % number == 0]
        if type(rank) is not int or rank not in divisors:
            raise CapacityError(
                f"surm_kronecker: rank {rank!r} is not valid: it must divide the sides of all maps. Valid: {', '.join(map(str, divisors))}",
                "rank",
                divisors,
            )
        return rank

    def initialise_maps(self, generator: torch.Generator) -> None:
        """Draw A; set B to zero."""
        for group in self.factor_a.values():
            if self.is_adapter:
                self.draw(group, 0.02, generator)
            else:
                kaiming_uniform_(group, group.shape[-1], generator)
        for group in self.factor_b.values():
            nn.init.zeros_(group)

    def prepare(self) -> None:
        """Take the factors apart by site, scaling included."""
        super().prepare()
        scaling = 1.0 if self.is_adapter else self.scale / self.rank
        scaled = self.factor_b.by_site(scaling * group for group in self.factor_b.values())
        self._factors = list(zip(self.factor_a.by_site(), scaled, strict=True))

    def product(self, x_BTi: Tensor, site: Site) -> Tensor:
        """Return `vec(A X^T B^T)^T` of x as a matrix X (r, i/r): 2 r (i + o) multiplications and additions per token."""
        a, b = self._factors[self.index[site]]
        inner_BTrr: Tensor = x_BTi.unflatten(-1, (self.rank, -1)) @ a.T
        outer_BTpr: Tensor = (inner_BTrr.mT @ b.T).mT
        return outer_BTpr.flatten(-2)

    def matrix(self, site: Site) -> Tensor:
        """Return the Kronecker product."""
        a, b = self._factors[self.index[site]]
        return torch.kron(b, a)


METHOD = SurmKronecker
