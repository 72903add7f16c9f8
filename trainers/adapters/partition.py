"""A base whose weights are partitioned over the workers of a group by DeepSpeed's ZeRO-3; and what else acts on such weights.

DeepSpeed marks what it has taken over: a parameter by `ds_id` and `ds_persist`, a module by `ds_id`. Nothing here imports it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn
from torch.func import functional_call

from search_spaces.errors import NotApplicableError


def is_partitioned(parameter: Tensor) -> bool:
    """Tell whether this worker holds a part of a parameter only; its `data` is then whole just while a module that owns it runs."""
    return hasattr(parameter, "ds_id") and not getattr(parameter, "ds_persist", False)


def held(parameter: Tensor) -> Tensor:
    """Return what this worker holds of a parameter: all of it, or its part."""
    part: Tensor = parameter.ds_tensor if is_partitioned(parameter) else parameter  # type: ignore[attr-defined]
    return part


def is_collective(base: nn.Module) -> bool:
    """Tell whether DeepSpeed has taken a base over: forward and backward passes are then collective operations, whatever is partitioned."""
    return hasattr(base, "ds_id")


def require_whole(parameters: Mapping[str, Tensor]) -> None:
    """Refuse parameters that are partitioned.

    Raises:
        NotApplicableError: one of them is; the message names it.
    """
    for name, parameter in parameters.items():
        if is_partitioned(parameter):
            raise NotApplicableError(
                f"{name} is partitioned over the workers by ZeRO-3, and a whole copy of it is to be trained. Fix: deepspeed.zero_stage: 2"
            )


@contextmanager
def gathered(base: nn.Module) -> Iterator[None]:
    """Make all weights of a base whole on every worker, for reading, within a `with` block; all workers enter it together."""
    parts = [parameter for parameter in base.parameters() if is_partitioned(parameter)]
    if not parts:
        yield
        return
    from deepspeed.runtime.zero import GatheredParameters

    with GatheredParameters(parts):
        yield


def release_all(base: nn.Module) -> None:
    """Let go of weights that are still whole, as after a backward pass that did not reach the first layers."""
    for parameter in base.parameters():
        if is_partitioned(parameter) and parameter.ds_status.name == "AVAILABLE":  # type: ignore[attr-defined]
            parameter.ds_active_sub_modules.clear()  # type: ignore[attr-defined]
            parameter.partition()  # type: ignore[attr-defined]


def call_with(base: nn.Module, replaced: Mapping[str, Tensor], inputs: dict[str, Any]) -> Any:
    """Run a base with tensors in the place of parameters.

    DeepSpeed's hooks look at the parameters of the modules that it has taken over, before and after each of them runs, and must find its
    own: there, tensors are put in their place between the hooks. Elsewhere `functional_call` does it for the whole pass.

    Args:
        replaced: the tensors by the names of the parameters.
        inputs: the base's keyword arguments.
    """
    if not replaced:
        return base(**inputs)
    hooked = {name: tensor for name, tensor in replaced.items() if hasattr(_owner(base, name), "ds_id")}
    with _in_place(base, hooked):
        plain = {name: tensor for name, tensor in replaced.items() if name not in hooked}
        return functional_call(base, plain, (), inputs) if plain else base(**inputs)


@contextmanager
def _in_place(base: nn.Module, replaced: Mapping[str, Tensor]) -> Iterator[None]:
    owners: dict[nn.Module, dict[str, Tensor]] = {}
    for name, tensor in replaced.items():
        owners.setdefault(_owner(base, name), {})[name.rpartition(".")[2]] = tensor
    handles = []
    for module, tensors in owners.items():
        own: dict[str, Any] = {leaf: module._parameters[leaf] for leaf in tensors}
        handles.append(module.register_forward_pre_hook(_putting(tensors)))
        # In front of DeepSpeed's own hook, and also where the module fails.
        handles.append(module.register_forward_hook(_putting(own), prepend=True, always_call=True))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _putting(tensors: Mapping[str, Any]) -> Callable[..., None]:
    def hook(module: nn.Module, *_: Any) -> None:
        module._parameters.update(tensors)

    return hook


def _owner(base: nn.Module, name: str) -> nn.Module:
    return base.get_submodule(name.rpartition(".")[0])
