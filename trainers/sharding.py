"""What ZeRO-1 and ZeRO-2 make of the trained parameters: every worker updates a part of their numbers.

DeepSpeed lays the parameters of an optimiser's group out in a row, cuts it into as many parts as there are workers, and gives the optimiser
this worker's part, a copy, in the place of the parameters. The parameters themselves stay whole between the steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from trainers.group import Group


class Shards:
    """This worker's parts, seen as parameters again. All methods but `leave_out_frozen` are for all workers together.

    Args:
        zero: DeepSpeed's optimiser of the stages 1 and 2.
        group: the workers.
    """

    def __init__(self, zero: Any, group: Group) -> None:
        self.zero, self.group = zero, group
        self._parts: list[Tensor] = zero.single_partition_of_fp32_groups
        self._rows: list[list[nn.Parameter]] = zero.bit16_groups
        self._places = {id(part): row for part, row in zip(self._parts, self._rows, strict=True)}
        self.parameters = [parameter for row in self._rows for parameter in row]

    def leave_out_frozen(self, optimizer: torch.optim.Optimizer) -> None:
        """Take the gradients from the parts whose parameters this step leaves out: the optimiser then passes over them."""
        for group in optimizer.param_groups:
            for part in group["params"]:
                if not any(parameter.requires_grad for parameter in self._places[id(part)]):
                    part.grad = None

    def gradients(self) -> list[Tensor | None]:
        """Return every parameter's mean gradient, whole and not clipped, before the step; None where it is frozen."""
        from deepspeed.utils import safe_get_full_grad

        return [safe_get_full_grad(p).clone() if p.requires_grad else None for p in self.parameters]

    def clipping(self, limit: float | None) -> float:
        """Return what the gradients of the last step were multiplied by."""
        norm = float(self.zero._global_grad_norm)
        return min(1.0, limit / (norm + 1e-6)) if limit else 1.0

    def take_in(self) -> None:
        """Copy the parameters into the parts: what was written to them would be lost in the next step."""
        self.zero.refresh_fp32_params()

    def state(self) -> dict[int, dict[str, Tensor]]:
        """Return the optimiser's state by the parameters' order, whole on every worker."""
        state = self.zero.optimizer.state
        found: dict[int, dict[str, Tensor]] = {}
        for number, (parameter, part) in enumerate(self._each()):
            if state.get(part):
                found[number] = {key: self._whole(parameter, part, torch.as_tensor(value)) for key, value in state[part].items()}
        return found

    def load_state(self, state: Mapping[int, Mapping[str, Tensor]]) -> None:
        """Take back what `state` returned."""
        own = self.zero.optimizer.state
        for number, (parameter, part) in enumerate(self._each()):
            for key, value in state.get(number, {}).items():
                if value.shape != parameter.shape:
                    own[part][key] = value.clone()
                    continue
                row = own[part].setdefault(key, torch.zeros_like(part, requires_grad=False))
                for there, here in self._fragment(parameter):
                    row[here] = value.flatten()[there].to(row)

    def _each(self) -> Iterator[tuple[nn.Parameter, Tensor]]:
        for row, part in zip(self._rows, self._parts, strict=True):
            for parameter in row:
                yield parameter, part

    def _whole(self, parameter: nn.Parameter, part: Tensor, value: Tensor) -> Tensor:
        if value.shape != part.shape:
            return value.clone()
        whole = torch.zeros(parameter.numel(), dtype=value.dtype, device=value.device)
        for there, here in self._fragment(parameter):
            whole[there] = value[here]
        return self.group.sum_(whole).view(parameter.shape)

    def _fragment(self, parameter: nn.Parameter) -> Iterator[tuple[slice, slice]]:
        """Yield where this worker's numbers of a parameter stand in it and in the part; nothing where it has none."""
        mapping: Any = parameter._hp_mapping  # type: ignore[attr-defined]
        if mapping is not None:
            there, here = mapping.lp_fragment_address, mapping.hp_fragment_address
            yield slice(there.start, there.start + there.numel), slice(here.start, here.start + here.numel)
