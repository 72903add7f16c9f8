"""Factors of many sites in few tensors, so that what acts on all of them costs a handful of operations.

Shapes: N sites, n sites of one group.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn


class Stack(nn.ParameterDict):
    """One factor for each site. Those of equal shape form a group, which is one parameter (n, ...) named by the shape, `8x512`.

    Args:
        shapes: the factor's shape at each site.
    """

    _from_groups: Tensor
    _into_groups: Tensor

    def __init__(self, shapes: Sequence[tuple[int, ...]]) -> None:
        groups: dict[tuple[int, ...], list[int]] = {}
        for site, shape in enumerate(shapes):
            groups.setdefault(shape, []).append(site)
        super().__init__()
        for shape, sites in groups.items():
            self["x".join(map(str, shape))] = nn.Parameter(torch.empty(len(sites), *shape))
        order = [site for sites in groups.values() for site in sites]
        self._sizes = [len(sites) for sites in groups.values()]
        self._positions = sorted(range(len(order)), key=order.__getitem__)
        # An architecture's roles alternate, so a group's sites are seldom neighbours.
        self.register_buffer("_into_groups", torch.tensor(order), persistent=False)
        self.register_buffer("_from_groups", torch.tensor(self._positions), persistent=False)

    def split(self, values_N: Tensor) -> Sequence[Tensor]:
        """Return values (N, ...) of the sites as one tensor (n, ...) per group."""
        return (values_N,) if len(self) == 1 else values_N[self._into_groups].split(self._sizes)

    def join(self, groups: Iterable[Tensor]) -> Tensor:
        """Return the values of one tensor (n, ...) per group, equal in the other dimensions, as (N, ...) in the order of the sites."""
        parts = tuple(groups)
        return parts[0] if len(parts) == 1 else torch.cat(parts)[self._from_groups]

    def by_site(self, groups: Iterable[Tensor] | None = None) -> list[Tensor]:
        """Return one tensor per site from one (n, ...) per group, by default the parameters.

        To be called once per forward pass: the gradients of a group's sites then come back in one operation.
        """
        parts = [part for group in (self.values() if groups is None else groups) for part in group.unbind()]
        return [parts[position] for position in self._positions]
