"""What a method can hand to a product of several lanes, and which lanes should stand side by side for that."""

from __future__ import annotations

from typing import Literal

import torch

from trainers.adapters.attach import AdaptedModel
from trainers.adapters.method import Method

Form = Literal["factors", "code"]
"""What a method hands to a group: A and B, or the code of its input and B."""


def form_of(kind: type[Method]) -> Form | None:
    """Return what a class of methods hands to a group; None where it adds more than one product.

    It follows from what the class leaves to the base class: with `transform` and `delta` its own, a method adds `code B^T`; with `code` as
    well, `x A^T B^T`. Whatever else it overrides, such as `factors` or `prepare`, is called for every lane as ever.
    """
    if not kind.groupable or kind.transform is not Method.transform or kind.delta is not Method.delta:
        return None
    if kind.code is not Method.code:
        return "code"
    # One that has neither, the untuned model, adds nothing.
    return None if kind.factors is Method.factors else "factors"


@torch.no_grad()
def kin_of(model: AdaptedModel) -> tuple[str, ...]:
    """Return a key by which models sort so that those with equal shapes are neighbours.

    Args:
        model: attached and prepared.
    """
    method, form = model.method, form_of(type(model.method))
    if form is None or not method.sites:
        return ("", method.card.name)
    if form == "factors":
        return (form, *(str(tuple(factor.shape)) for factor in method.factors(method.sites[0])))
    return (form, str(sorted(method.capacity.items())), method.card.name)
