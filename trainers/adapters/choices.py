"""Checks the capacity and the structural settings that a label gives a method against what the method's card declares."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search_spaces.errors import CapacityError, UnknownNameError
from trainers.api import MethodCard


def checked_capacity(card: MethodCard, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the capacity, in the card's order, defaults of its further keys filled in.

    Raises:
        UnknownNameError: a key that the method does not have.
        CapacityError: a key that is missing.
    """
    for key in given:
        if key not in card.capacity:
            raise UnknownNameError(f"capacity key of {card.name}", key, card.capacity)
    values = {**card.capacity_defaults, **given}
    missing = [key for key in card.capacity if key not in values]
    if missing:
        raise CapacityError(f"{card.name}: capacity {', '.join(missing)} is missing. Fix: give it a value or a list of values")
    return {key: values[key] for key in card.capacity}


def checked_settings(card: MethodCard, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return all structural settings, defaults filled in.

    Raises:
        UnknownNameError: a setting that the method does not have.
        CapacityError: a value that the setting does not take.
    """
    for key, value in given.items():
        if key not in card.settings:
            raise UnknownNameError(f"setting of {card.name}", key, card.settings)
        if fault := card.settings[key].fault(value):
            raise CapacityError(f"{card.name}: {key} {fault}", key)
    return {key: setting.default for key, setting in card.settings.items()} | dict(given)
