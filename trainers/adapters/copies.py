"""Trainable fp32 copies of parameters of the base, used in their place during a forward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

NORMS, BIASES = "norms", "biases"
HEADS = ("classifier.", "score.")
"""Name prefixes of a base's classification head, which is trained whole and counted apart."""


class ParameterCopies(nn.Module):
    """One fp32 copy (fp64 of a base in fp64) for each named parameter; gradients flow through the cast back to the base's dtype.

    Args:
        own: the base's parameters by name.
        names: those to copy.

    Attributes:
        names: parameter names of the base, in its own order.
    """

    def __init__(self, own: Mapping[str, Tensor], names: Sequence[str]) -> None:
        super().__init__()
        self.names = tuple(names)
        self.dtypes = tuple(own[name].dtype for name in self.names)
        self.values = nn.ParameterList(torch.empty_like(own[name], dtype=_master(own[name].dtype)) for name in self.names)

    def take(self, own: Mapping[str, Tensor]) -> None:
        """Copy the base's present values, given by name."""
        with torch.no_grad():
            for name, copy in self.named().items():
                copy.copy_(own[name])

    def named(self) -> dict[str, nn.Parameter]:
        """Return the copies by the base's names."""
        return dict(zip(self.names, self.values, strict=True))

    def cast(self) -> dict[str, Tensor]:
        """Return the copies by the base's names, in the dtypes of the base."""
        return {name: copy.to(dtype) for name, copy, dtype in zip(self.names, self.values, self.dtypes, strict=True)}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take values by the base's names."""
        with torch.no_grad():
            for name, copy in self.named().items():
                copy.copy_(state[name])


def extra_parameters(base: nn.Module, kinds: Sequence[str]) -> list[str]:
    """List the base's parameters that a sweep trains besides every adapter: `norms` (all of a normalisation layer), `biases`."""
    norms = set(norm_modules(base))
    names = []
    for name, _ in base.named_parameters():
        module, _, leaf = name.rpartition(".")
        is_norm = module in norms
        if in_head(name):
            continue
        if (is_norm and NORMS in kinds) or (not is_norm and leaf == "bias" and BIASES in kinds):
            names.append(name)
    return names


def in_head(name: str) -> bool:
    """Tell whether a parameter of the base belongs to its classification head."""
    return name.startswith(HEADS)


def has_head(base: nn.Module) -> bool:
    """Tell whether a base model classifies texts; one that does not writes them."""
    return any(in_head(name) for name, _ in base.named_parameters())


def norm_modules(base: nn.Module) -> list[str]:
    """List the paths of the base's normalisation layers."""
    return [name for name, module in base.named_modules() if "norm" in type(module).__name__.lower()]


def _master(dtype: torch.dtype) -> torch.dtype:
    return torch.float64 if dtype == torch.float64 else torch.float32
