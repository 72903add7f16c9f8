"""Folds an attached adapter into the weights of its base."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from search_spaces.errors import NotApplicableError
from trainers.adapters.attach import AdaptedModel
from trainers.adapters.snapshot import Snapshot


def merged_parameters(model: AdaptedModel) -> dict[str, Tensor]:
    """Return the parameters of the bare base that change when adapter, extras and head are folded in, by name, in the base's dtype.

    Raises:
        NotApplicableError: an adapter that is not a change of this base's weights; the message gives the reason.
    """
    reason = model.method.unmergeable()
    if reason is not None:
        raise NotApplicableError(f"{model.method.card.name} cannot be merged: {reason}. Fix: export it in its own format")
    attached = Snapshot(model.base)
    try:
        with torch.no_grad():
            extras = model.extras.cast() | model.head.cast()
            # A method that scales outputs folds itself into the biases too: it must find the trained ones.
            _put(model.base, {model.present_names[name]: tensor for name, tensor in extras.items()})
            model.method.prepare()
            changed = extras | model.method.merged(model.base)
    finally:
        attached.restore()
    return {name: tensor.detach() for name, tensor in changed.items()}


@contextmanager
def merged(model: AdaptedModel) -> Iterator[nn.Module]:
    """Give the bare base with the adapter and the extras folded into its weights, for the length of a `with` block.

    The base's own tensors are not written to; afterwards the adapter is attached as before.

    Raises:
        NotApplicableError: an adapter that is not a change of this base's weights; the message gives the reason.
    """
    changed = merged_parameters(model)
    attached = Snapshot(model.base)
    try:
        model.pristine.restore()
        _put(model.base, changed)
        yield model.base
    finally:
        model.pristine.restore()
        attached.restore()


def _put(base: nn.Module, changed: Mapping[str, Tensor]) -> None:
    """Replace parameters, tied ones under all their names."""
    new = {name: nn.Parameter(tensor, requires_grad=False) for name, tensor in changed.items()}
    own = dict(base.named_parameters(remove_duplicate=False))
    by_identity = {id(own[name]): parameter for name, parameter in new.items()}
    for name, parameter in own.items():
        if id(parameter) in by_identity:
            module, _, leaf = name.rpartition(".")
            base.get_submodule(module)._parameters[leaf] = by_identity[id(parameter)]
