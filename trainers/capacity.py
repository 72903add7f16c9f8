"""The sizes that a registered method comes in on a base model, counted from shapes alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from search_spaces.capacity import Ladder
from search_spaces.errors import CapacityError
from search_spaces.trial import ModelRef, Scalar
from trainers.adapters.choices import checked_capacity
from trainers.counting import count_on
from trainers.registry import method_type


def ladder(
    model: ModelRef,
    method: str,
    targets: Sequence[str] = (),
    settings: Mapping[str, Any] | None = None,
    others: Mapping[str, Scalar] | None = None,
    also_train: Sequence[str] = (),
) -> Ladder:
    """Return a method's ladder on a model, by its first capacity key.

    Args:
        model: the base model.
        method: registry key.
        targets: roles; empty takes the method's default.
        settings: structural settings.
        others: values of the capacity keys after the first, and of one that does not change the number of parameters; those that are
            left out take the method's defaults.
        also_train: `norms`, `biases`.

    Raises:
        UnknownNameError: no such method or capacity key.
        CapacityError: a further capacity key without a value; one of the first key, which is what the ladder varies.
    """
    card = method_type(method).card
    given = dict(others or {})
    if not card.fixed_size and card.capacity[0] in given:
        raise CapacityError(f"{method}: {card.capacity[0]} is what the ladder varies. Fix: leave it out", card.capacity[0])
    first = {key: 1 for key in card.capacity[:1] if key not in given}
    rest = {key: value for key, value in checked_capacity(card, {**given, **first}).items() if key not in first}
    default = card.capacity_defaults.get(card.capacity[0]) if card.capacity else None

    def count(capacity: Mapping[str, Scalar]) -> int:
        return count_on(model, method, targets, capacity, settings or {}, also_train).counts.peak

    return Ladder(card.capacity, count, rest, default)
