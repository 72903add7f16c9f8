"""Trainable parameters of one method on one base model, without weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from search_spaces.errors import CapacityError, UnknownNameError
from search_spaces.trial import ModelRef


def count_documents(
    model: str, methods: Sequence[str], assignments: Sequence[str], targets: Sequence[str], also_train: Sequence[str], task: str | None
) -> list[dict[str, Any]]:
    """Return one document per method, as `count_document` makes it; of several methods, each takes the keys that it has.

    Raises:
        UnknownNameError: also a key that none of the methods has.
    """
    taken = accepted(methods, assigned(assignments)) if len(methods) > 1 else {}
    texts = {text: text.partition("=")[0].strip() for text in assignments}
    return [
        count_document(model, method, [t for t, key in texts.items() if not taken or key in taken[method]], targets, also_train, task)
        for method in dict.fromkeys(methods)
    ]


def count_rows(documents: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return documents as the rows of a table."""
    keys = ("method", "config", "trainable", "adapter", "head", "bytes")
    return [{key: document[key] for key in keys} for document in documents]


def accepted(methods: Sequence[str], given: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what each method takes of capacity keys and settings: those that it has.

    Raises:
        UnknownNameError: a key that none of the methods has.
    """
    from trainers import registry

    known = {name: (*card.capacity, *card.settings) for name in methods for card in (registry.method_type(name).card,)}
    for key in given:
        if not any(key in keys for keys in known.values()):
            raise UnknownNameError(f"key of {', '.join(known)}", key, sorted({key for keys in known.values() for key in keys}))
    return {name: {key: value for key, value in given.items() if key in keys} for name, keys in known.items()}


def count_document(
    model: str, method: str, assignments: Sequence[str], targets: Sequence[str], also_train: Sequence[str] = (), task: str | None = None
) -> dict[str, Any]:
    """Return what `fairsweep count --json` prints.

    Args:
        assignments: `key=value` texts: capacity and structural settings.
        targets: roles; empty takes the method's default.
        also_train: `norms`, `biases`.
        task: gives the classification head its outputs; None counts the head that the model has.

    Raises:
        UnknownNameError: a model, method, task, key or role that does not exist.
        CapacityError: a capacity that is missing or cannot be.
        NotApplicableError: the definition of the method, or of the task, does not cover the model.
    """
    from trainers import references, registry
    from trainers.adapters.choices import checked_capacity
    from trainers.counting import count_on, has_head_on

    card = registry.method_type(method).card
    ref = references.resolve(ModelRef(id=model))
    given = assigned(assignments)
    for key in given:
        if key not in card.capacity and key not in card.settings:
            raise UnknownNameError(f"key of {method}", key, (*card.capacity, *card.settings))
    for key in card.capacity:
        if key not in given and key not in card.capacity_defaults:
            raise CapacityError(f"the capacity {key} of {method} is missing. Fix: --set {key}=8")
    capacity = checked_capacity(card, {key: value for key, value in given.items() if key in card.capacity})
    settings = {key: value for key, value in given.items() if key in card.settings}
    num_labels = None
    if task is not None:
        asked = registry.task(task).card
        num_labels = asked.num_labels if asked.form_on(has_head=has_head_on(ref)) == "label" else None
    found = count_on(ref, method, targets, capacity, settings, also_train, num_labels)
    counts = found.counts
    extras = {"also_train": list(also_train)} if also_train else {}
    return {
        "model": model,
        "method": method,
        **({"task": task} if task else {}),
        "config": {**capacity, **settings, "targets": list(found.roles), **extras},
        "trainable": counts.trainable,
        "adapter": counts.peak,
        "head": counts.head,
        "counts": counts.model_dump(),
        "bytes": found.bytes,
        "parts": found.parts,
    }


def assigned(texts: Sequence[str]) -> dict[str, Any]:
    """Return `key=value` texts as a mapping.

    Raises:
        CapacityError: a text without a value.
    """
    return dict(map(_assignment, texts))


def _assignment(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals:
        raise CapacityError(f"--set {text!r} has no value. Fix: write --set {key}=VALUE")
    return key.strip(), yaml.safe_load(value)
