"""Trainable fp32 copies of parameters of the base, used in their place during a forward pass."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from trainers.adapters.partition import require_whole

NORMS, BIASES = "norms", "biases"
HEADS = frozenset({"classifier", "pre_classifier", "pooler", "score"})
"""Modules of a classification head, which is trained whole and counted apart: all that stands behind the encoder's last layer. They are
modules of the base itself or, as some poolers, of the encoder in it."""


class ParameterCopies(nn.Module):
    """One fp32 copy (fp64 of a base in fp64) for each named parameter; gradients flow through the cast back to the base's dtype.

    Args:
        own: the base's parameters by name.
        names: those to copy and train.
        frozen: those to copy only: values that an adapter needs and does not find in the base.

    Raises:
        NotApplicableError: the base holds parts of one of them only.

    Attributes:
        names: names of the trained parameters in the base, in its own order.
        frozen: names of the others.
    """

    def __init__(self, own: Mapping[str, Tensor], names: Sequence[str], frozen: Sequence[str] = ()) -> None:
        super().__init__()
        require_whole({name: own[name] for name in (*names, *frozen)})
        self.names, self.frozen = tuple(names), tuple(frozen)
        self.dtypes = {name: own[name].dtype for name in (*self.names, *self.frozen)}
        self.values = nn.ParameterList(_master_copy(own[name]) for name in self.names)
        for index, name in enumerate(self.frozen):
            self.register_buffer(f"frozen_{index}", _master_copy(own[name]))

    def take(self, own: Mapping[str, Tensor]) -> None:
        """Copy values given by the base's names, such as its present ones."""
        with torch.no_grad():
            for name, copy in self.held().items():
                copy.copy_(own[name])

    def named(self) -> dict[str, nn.Parameter]:
        """Return the trained copies by the base's names."""
        return dict(zip(self.names, self.values, strict=True))

    def held(self) -> dict[str, Tensor]:
        """Return all copies by the base's names, trained and frozen."""
        return {**self.named(), **{name: self.get_buffer(f"frozen_{index}") for index, name in enumerate(self.frozen)}}

    def cast(self) -> dict[str, Tensor]:
        """Return all copies by the base's names, in the dtypes of the base."""
        return {name: copy.to(self.dtypes[name]) for name, copy in self.held().items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `held` returned."""
        self.take(state)


def extra_parameters(base: nn.Module, kinds: Sequence[str]) -> list[str]:
    """List the base's parameters that a sweep trains besides every adapter: `norms` (all of a normalisation layer), `biases`."""
    if not kinds:
        return []
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
    return not HEADS.isdisjoint(name.split(".")[:2])


def has_head(base: nn.Module) -> bool:
    """Tell whether a base model classifies texts; one that does not writes them."""
    return any(in_head(name) for name, _ in base.named_parameters())


def norm_modules(base: nn.Module) -> list[str]:
    """List the paths of the base's normalisation layers."""
    return [name for name, module in base.named_modules() if "norm" in type(module).__name__.lower()]


def _master_copy(own: Tensor) -> Tensor:
    return torch.empty_like(own, dtype=torch.float64 if own.dtype == torch.float64 else torch.float32)
