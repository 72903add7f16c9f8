"""Compares a method with its formula: output, every gradient, and the parameters after optimiser steps.

Shapes: B batch, T tokens, V vocabulary or classes, i in_features, o out_features.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from trainers.adapters.attach import AdaptedModel
from trainers.adapters.sites import Site

Parameters = Mapping[str, Tensor]
"""A method's trainable parameters by name, as leaves of a graph of their own."""
Reference = Callable[[Parameters, Tensor, Tensor], Tensor]
"""From the parameters, tokens (B, T) and their mask (B, T) to logits."""


def assert_trains_like(
    model: AdaptedModel,
    reference: Reference,
    *,
    steps: int = 5,
    tolerance: float = 1e-6,
    learning_rate: float = 1e-2,
    penalty: Callable[[Parameters], Tensor] | None = None,
    adjust: Callable[[dict[str, Tensor], int, int], None] | None = None,
) -> None:
    """Train a method beside its formula, and compare them at every step.

    Every parameter is first moved at random, so that none is zero. Both sides take AdamW steps on the same batch. The method's hooks
    are called as the training loop calls them.

    Args:
        model: an attached method, on a base in fp64.
        reference: the formula, written without the method's own code.
        steps: optimiser steps.
        tolerance: largest difference of any number.
        penalty: the regulariser of the formula, where the method has one.
        adjust: what the formula does to its parameters (by name, in place, gradients attached) right after step `n` of `steps`.

    Raises:
        AssertionError: the two differ; the message names what.
    """
    named = {name: p for name, p in model.method.named_parameters() if p.requires_grad}
    disturb(model)
    model.head.take(model.pristine.parameters)  # the formula is compared on the base's own head
    theirs = {name: p.detach().clone().requires_grad_() for name, p in named.items()}
    optimizers = [torch.optim.AdamW(list(side.values()), lr=learning_rate, weight_decay=0.01) for side in (named, theirs)]
    ids, mask = batch()
    for step in range(steps):
        model.before_step(step, steps)
        given, wanted = model(ids, mask).logits, reference(theirs, ids, mask)
        _compare(f"the output at step {step}", given, wanted, tolerance)
        for logits, regulariser in ((given, model.penalty()), (wanted, penalty(theirs) if penalty else None)):
            loss = loss_of(logits, ids)
            (loss if regulariser is None else loss + regulariser).backward()
        for name, parameter in named.items():
            mine, other = (torch.zeros_like(p) if p.grad is None else p.grad for p in (parameter, theirs[name]))
            _compare(f"the gradient of {name} at step {step}", mine, other, tolerance)
        for optimizer in optimizers:
            optimizer.step()
        model.method.after_step(step, steps)
        if adjust is not None:
            with torch.no_grad():
                adjust(theirs, step, steps)
        for optimizer in optimizers:
            optimizer.zero_grad()
        for name, parameter in named.items():
            _compare(f"{name} after step {step}", parameter, theirs[name], tolerance)


def dense_reference(base: nn.Module, sites: Sequence[Site], update: Callable[[Parameters, Site], Tensor]) -> Reference:
    """Return the reference of an additive method: the base with `W + update(parameters, site)` (o, i) at every site.

    Args:
        base: a model of its own, with the same weights as the adapted one.
        update: the formula of `ΔW`, scaling included.
    """

    def logits(parameters: Parameters, ids_BT: Tensor, mask_BT: Tensor) -> Tensor:
        changed = {f"{s.path}.weight": base.get_parameter(f"{s.path}.weight") + update(parameters, s) for s in sites}
        output: Tensor = functional_call(base, changed, (), {"input_ids": ids_BT, "attention_mask": mask_BT}).logits
        return output

    return logits


def batch(rows: int = 2, tokens: int = 9, padding: int = 0) -> tuple[Tensor, Tensor]:
    """Return byte tokens (B, T) and their mask, the first row padded on the left; the same in every call."""
    ids = torch.randint(0, 256, (rows, tokens), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[0, :padding] = 0
    return ids, mask


def loss_of(logits: Tensor, ids: Tensor) -> Tensor:
    """Return the loss of predicting the next token (logits (B, T, V)), or class `row mod classes` (logits (B, V))."""
    if logits.dim() == 2:
        return nn.functional.cross_entropy(logits, torch.arange(len(logits)) % logits.shape[1])
    return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


def disturb(model: AdaptedModel) -> None:
    """Move every trainable parameter, as training would."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.trainable().values():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)


def _compare(what: str, given: Tensor, wanted: Tensor, tolerance: float) -> None:
    difference = float((given - wanted).detach().abs().max()) if given.numel() else 0.0
    assert difference <= tolerance, f"{what} differs by {difference:.2e}"
