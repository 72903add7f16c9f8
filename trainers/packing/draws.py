"""What a pack does with torch's global generators, of which a process has one for each device: every lane has a state of its own.

A base with dropout draws from them in training. In a joint pass each lane's rows are dropped out by themselves, from the lane's own state:
these are the very numbers that the trial draws alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from trainers.packing.crew import Crew

States = tuple[Tensor, ...]


def global_states() -> States:
    """Return the states of the global generators: of the CPU's, and of the GPU's where there is one."""
    device = (torch.cuda.get_rng_state(),) if torch.cuda.is_available() else ()
    return (torch.get_rng_state(), *device)


def set_global_states(states: States) -> None:
    """Take back what `global_states` returned."""
    torch.set_rng_state(states[0])
    if len(states) > 1:
        torch.cuda.set_rng_state(states[1])


class Draws:
    """The state of one lane's global generators while others have the turn."""

    def __init__(self) -> None:
        self.states = global_states()

    def leave(self) -> None:
        """Keep the present states: the turn is given up."""
        self.states = global_states()

    def enter(self) -> None:
        """Put the states back: the turn is taken."""
        set_global_states(self.states)


def drops_out(base: nn.Module) -> bool:
    """Tell whether a base has dropout of its own in training."""
    config: Any = getattr(base, "config", None)
    settings: Mapping[str, Any] = config.to_dict() if config is not None else {}
    named = any("drop" in name and isinstance(value, float) and value > 0 for name, value in settings.items())
    return named or any(isinstance(module, nn.Dropout) and module.p > 0 for module in base.modules())


class DrawsByLane(TorchFunctionMode):
    """A `with` block in which functions that drop out are computed lane by lane, each from its lane's states.

    Args:
        crew: the lanes of the pass.
        draws: those of each.
    """

    def __init__(self, crew: Crew, draws: Sequence[Draws]) -> None:
        super().__init__()
        self.crew, self.draws = crew, draws

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        """Run a function of torch."""
        kwargs = kwargs or {}
        if func not in _DROPPING:
            return func(*args, **kwargs)
        lane = self.crew.present
        if lane is not None:
            return self._drawn(lane, func, args, kwargs)
        parts = zip(*map(self.crew.split, args), strict=True) if args else [()] * len(self.draws)
        named = {name: self.crew.split(value) for name, value in kwargs.items()}
        return torch.cat([self._drawn(n, func, part, {name: values[n] for name, values in named.items()}) for n, part in enumerate(parts)])

    def _drawn(self, lane: int, func: Any, args: Any, kwargs: Mapping[str, Any]) -> Any:
        self.draws[lane].enter()
        try:
            return func(*args, **kwargs)
        finally:
            self.draws[lane].leave()


_DROPPING = (nn.functional.dropout, nn.functional.scaled_dot_product_attention)
