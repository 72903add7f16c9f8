"""Trainable parameters of one method on one base model, without weights."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from search_spaces.errors import CapacityError, UnknownNameError
from search_spaces.trial import ModelRef


def count_document(model: str, method: str, assignments: Sequence[str], targets: Sequence[str]) -> dict[str, Any]:
    """Return what `fairsweep count --json` prints.

    Args:
        assignments: `key=value` texts: capacity and structural settings.
        targets: roles; empty takes the method's default.

    Raises:
        UnknownNameError: a model, method, key or role that does not exist.
        CapacityError: a capacity that is missing or cannot be.
        NotApplicableError: the method's definition does not cover the model.
    """
    from trainers import references, registry
    from trainers.counting import count
    from trainers.shapes import shapes

    kind = registry.method_type(method)
    ref = references.resolve(ModelRef(id=model))
    given = dict(map(_assignment, assignments))
    for key in given:
        if key not in kind.card.capacity and key not in kind.card.settings:
            raise UnknownNameError(f"key of {method}", key, (*kind.card.capacity, *kind.card.settings))
    capacity = {key: value for key, value in given.items() if key in kind.card.capacity}
    if kind.card.capacity and not capacity:
        raise CapacityError(f"the capacity of {method} is missing. Fix: --set {kind.card.capacity[0]}=8")
    settings = {key: value for key, value in given.items() if key in kind.card.settings}
    found = count(shapes(ref), kind, targets, capacity, settings)
    counts = found.counts
    return {
        "model": model,
        "method": method,
        "config": {**capacity, **settings, "targets": list(targets or kind.card.default_targets)},
        "trainable": counts.trainable,
        "adapter": counts.peak,
        "head": counts.head,
        "counts": counts.model_dump(),
        "bytes": found.bytes,
        "parts": found.parts,
    }


def _assignment(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise CapacityError(f"--set {text!r} has no value. Fix: write --set {key}=VALUE")
    return key.strip(), yaml.safe_load(value)
