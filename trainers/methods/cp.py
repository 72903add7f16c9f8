"""CP tensor adapter: each update as a sum of rank-one terms over the factorised sides of its matrix.

Shapes: i in_features, o out_features, c components, n matrices of one shape.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from search_spaces.errors import CapacityError
from trainers.adapters.khatri_rao import khatri_rao
from trainers.adapters.method import Method
from trainers.adapters.sites import Site
from trainers.api import MethodCard, Setting


class Cp(Method):
    """`ΔW = Σ_s λ_s (u1_s ⊗ u2_s)(u3_s ⊗ u4_s)^T`, every ‖u‖ = 1: a CP form of ΔW with its sides factorised (arXiv 2606.00428).

    Rows (outputs) and columns (inputs) of 2048 are factorised as 32 x 64, as published; other sizes by default into the two factors
    nearest to each other, a prime size into itself. Any factorisation, of any number of factors, can be set. The optimiser's variables
    are raw vectors, normalised in the forward pass in fp32. The definition has no scaling factor, and its initialisation is not
    stated: raw vectors are drawn from N(0, 1), λ starts at zero [unverified].
    """

    card = MethodCard(
        name="cp",
        family="tensor",
        reference="arXiv 2606.00428",
        source="arXiv 2606.00428, from its abstract and reading notes; no code is published",
        capacity=("rank",),
        settings={
            "rows": Setting([], doc="factors of the output size, such as [32, 64]; empty for the most balanced pair"),
            "columns": Setting([], doc="factors of the input size, such as [32, 64]; empty for the most balanced pair"),
        },
        trains_at_start=("coefficients.*",),
        packable=True,
        exports_lora=True,
    )

    def build(self, base: nn.Module) -> None:
        """Create the vectors of all matrices of one shape as one parameter per mode.

        Raises:
            CapacityError: a factorisation with another product than a matrix has, or more components than such a tensor can need.
        """
        self.groups: dict[str, list[Site]] = {}
        for site in self.sites:
            self.groups.setdefault(f"{site.out_features}x{site.in_features}", []).append(site)
        self.modes = {key: (self._rows(group[0]), self._columns(group[0])) for key, group in self.groups.items()}
        self.rank = self.rank_within("rank", *self._largest_need())
        self.rows, self.columns, self.coefficients = nn.ParameterDict(), nn.ParameterDict(), nn.ParameterDict()
        for key, group in self.groups.items():
            for factors, sizes in zip((self.rows, self.columns), self.modes[key], strict=True):
                for position, size in enumerate(sizes):
                    factors[f"{key}_{position}"] = nn.Parameter(torch.empty(len(group), self.rank, size))
            self.coefficients[key] = nn.Parameter(torch.empty(len(group), self.rank))

    def initialise(self, generator: torch.Generator, base: nn.Module) -> None:
        """Draw the raw vectors; set λ to zero."""
        for factor in (*self.rows.values(), *self.columns.values()):
            nn.init.normal_(factor, generator=generator)
        for coefficient in self.coefficients.values():
            nn.init.zeros_(coefficient)

    def prepare(self) -> None:
        """Multiply out the vectors of both sides, for all matrices of one shape at once."""
        self._factors: dict[Site, tuple[Tensor, Tensor]] = {}
        for key, group in self.groups.items():
            first, *others = self._unit_vectors(self.rows, key)
            rows_nco = khatri_rao([self.scale * self.coefficients[key].unsqueeze(-1) * first, *others])
            columns_nci = khatri_rao(self._unit_vectors(self.columns, key))
            self._factors |= zip(group, zip(columns_nci.unbind(), rows_nco.mT.unbind(), strict=True), strict=True)

    def factors(self, site: Site) -> tuple[Tensor, Tensor]:
        """Return the products of the columns' vectors, and those of the rows' times λ."""
        return self._factors[site]

    def _unit_vectors(self, side: nn.ParameterDict, key: str) -> list[Tensor]:
        count = sum(name.startswith(f"{key}_") for name in side)
        return [normalize(side[f"{key}_{position}"], dim=-1) for position in range(count)]

    def _rows(self, site: Site) -> Sequence[int]:
        return self._factorisation("rows", site.out_features, site)

    def _columns(self, site: Site) -> Sequence[int]:
        return self._factorisation("columns", site.in_features, site)

    def _factorisation(self, side: str, size: int, site: Site) -> Sequence[int]:
        given: list[int] = self.settings[side]
        if not given:
            return balanced(size)
        if any(type(factor) is not int or factor < 2 for factor in given) or math.prod(given) != size:
            valid = [[size], *([a, size // a] for a in range(2, math.isqrt(size) + 1) if size % a == 0)]
            raise CapacityError(
                f"cp: {side} {given!r} does not factorise {size}, the {'output' if side == 'rows' else 'input'} size of {site.path}. "
                f"Valid: whole numbers above 1 with the product {size}, such as {', '.join(map(str, valid[:-4:-1]))}"
            )
        return given

    def _largest_need(self) -> tuple[int, str]:
        """Return the largest rank that a tensor of the smallest modes can have: all but its largest mode, multiplied."""
        needs = [(math.prod(modes) // max(modes), modes) for modes in ([*rows, *columns] for rows, columns in self.modes.values())]
        least, modes = min(needs, key=lambda need: need[0])
        return least, f"what any tensor of {' x '.join(map(str, modes))} can be written with"


def balanced(size: int) -> list[int]:
    """Return the two factors of a size that are nearest to each other, the smaller one first; a prime size alone."""
    smaller = next(a for a in range(math.isqrt(size), 0, -1) if size % a == 0)
    return [smaller, size // smaller] if smaller > 1 else [size]


METHOD = Cp
