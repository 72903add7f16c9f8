"""What happens at one module of the base in a joint pass.

Shapes: R rows of all lanes, T tokens, i in_features, o out_features.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from trainers.adapters.adaptation import Adaptation
from trainers.packing.crew import Crew


class SitePlan(ABC):
    """What the lanes' methods do at a module that runs once for all rows."""

    def enter(self, crew: Crew, x_RTi: Tensor) -> Tensor:
        """Return what takes the place of the module's input."""
        return x_RTi

    @abstractmethod
    def transform(self, crew: Crew, x_RTi: Tensor, y_RTo: Tensor) -> Tensor:
        """Return the adapted output from the module's input, as it was entered, and its output, which may be overwritten."""


class LaneByLane(SitePlan):
    """Each lane's method on its own rows.

    Args:
        acts: what each lane does here; None where it does nothing.
    """

    def __init__(self, acts: Sequence[Adaptation | None]) -> None:
        self.acts = tuple(acts)
        self._enters = any(a is not None and a.enter is not None for a in acts)
        self._transforms = any(a is not None and a.transform is not None for a in acts)

    def enter(self, crew: Crew, x_RTi: Tensor) -> Tensor:
        """Return every lane's input."""
        if not self._enters:
            return x_RTi
        entered = []
        for lane, (acts, part) in enumerate(zip(self.acts, crew.parts(x_RTi), strict=True)):
            with crew.aboard(lane):
                entered.append(part if acts is None or acts.enter is None else acts.enter(part))
        return entered[0] if len(entered) == 1 else torch.cat(entered)

    def transform(self, crew: Crew, x_RTi: Tensor, y_RTo: Tensor) -> Tensor:
        """Return every lane's output."""
        if not self._transforms:
            return y_RTo
        if len(self.acts) == 1:
            return self.output(crew, 0, crew.parts(x_RTi)[0], y_RTo)
        parts = y_RTo.split(crew.sizes_of(y_RTo))
        # Written to in place, a view would cost a copy of all rows' gradient for every lane.
        outputs = [self.output(crew, lane, x, y.clone()) for lane, (x, y) in enumerate(zip(crew.parts(x_RTi), parts, strict=True))]
        return torch.cat(outputs)

    def output(self, crew: Crew, lane: int, x: Tensor, y: Tensor) -> Tensor:
        """Return one lane's output from its rows, of which those of the output may be overwritten."""
        acts = self.acts[lane]
        if acts is None or acts.transform is None:
            return y
        with crew.aboard(lane):
            return acts.transform(x, y)


class OwnModules:
    """Each lane's own module on its own rows, with whatever the lane has put there.

    Args:
        modules: one for each lane.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.modules = tuple(modules)

    def run(self, crew: Crew, arguments: tuple[Any, ...], named: dict[str, Any]) -> Any:
        """Return the outputs of all, joined."""
        positional = [list(part) for part in zip(*map(crew.split, arguments), strict=True)] if arguments else [[] for _ in self.modules]
        keywords = {name: crew.split(value) for name, value in named.items()}
        outputs = []
        for lane, module in enumerate(self.modules):
            with crew.aboard(lane):
                outputs.append(module(*positional[lane], **{name: values[lane] for name, values in keywords.items()}))
        return _joined(outputs)


def _joined(outputs: Sequence[Any]) -> Any:
    """Join tensors, or tuples of them, along their rows."""
    first = outputs[0]
    if len(outputs) == 1:
        return first
    if isinstance(first, Tensor):
        return torch.cat(tuple(outputs))
    if isinstance(first, tuple):
        return tuple(_joined(parts) for parts in zip(*outputs, strict=True))
    return first
