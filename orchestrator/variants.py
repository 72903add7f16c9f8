"""Variants: what a label under `methods:` stands for, read against the cards of its method and its optimiser."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from orchestrator.cells import Capacity, frozen_capacity
from search_spaces.errors import Fault, suggestion
from search_spaces.trial import Scalar
from search_spaces.variants import Option
from trainers.api import MethodCard, OptimizerCard, Setting

Settings = dict[str, Option]
METHOD_AXES = ("learning_rate", "scale", "dropout")
"""Axes of the grid that a method may leave unread."""
OPTIMIZER_AXES = ("learning_rate", "head_learning_rate", "betas", "eps", "weight_decay", "scheduler", "warmup_ratio", "clip")
"""Hyper-parameters that an optimiser may leave unread; the training loop itself reads the others."""


@dataclass(frozen=True)
class Variant:
    """A label, resolved."""

    label: str
    card: MethodCard
    version: str
    settings: Settings
    """Structural settings that differ from the method's defaults."""
    optimizer: OptimizerCard
    optimizer_settings: Settings
    """Settings that differ from the optimiser's defaults."""
    capacities: tuple[Capacity, ...]
    """As the file gives them; in a sweep by budgets without the first key, which is solved, or fitted, on every model."""

    @cached_property
    def defaults(self) -> Settings:
        """The default settings of the method and of its optimiser."""
        return {key: setting.default for key, setting in {**self.optimizer.settings, **self.card.settings}.items()}

    @cached_property
    def reads(self) -> tuple[str, ...]:
        """The hyper-parameters that have an effect, out of those that a method or an optimiser may leave unread."""
        left = {axis for axis in METHOD_AXES if axis not in self.card.reads}
        left |= {axis for axis in OPTIMIZER_AXES if axis not in self.optimizer.reads}
        return tuple(axis for axis in dict.fromkeys((*METHOD_AXES, *OPTIMIZER_AXES)) if axis not in left)


def read_options(
    card: MethodCard, optimizer: OptimizerCard, options: Mapping[str, Option], *, by_budgets: bool
) -> tuple[tuple[Capacity, ...], Settings, list[Fault]]:
    """Return a label's capacities, the settings of method and optimiser that are not the defaults, and what is wrong with its keys.

    Args:
        card: the method's card.
        optimizer: the optimiser's card; a setting that both have is the method's.
        options: keys and values as written.
        by_budgets: whether budgets solve the first capacity key, which must not be given then; one that does not change the number of
            parameters may be given, and else its default is fitted to every model.
    """
    solved = card.capacity[0] if by_budgets and not card.fixed_size else None
    ladders: dict[str, list[Scalar]] = {key: [value] for key, value in card.capacity_defaults.items()}
    settings: Settings = {}
    known = {**optimizer.settings, **card.settings}
    faults: list[Fault] = []
    for key, value in options.items():
        if message := _fault(card, known, key, value, solved):
            faults.append(Fault(key, message))
        if key in card.capacity:
            ladders[key] = value if isinstance(value, list) else [] if value is None else [value]
        elif not message and value != known[key].default:
            settings[key] = value
    fitted = card.capacity[0] if by_budgets and card.capacity and card.capacity[0] not in options else None
    keys = [key for key in card.capacity if key not in (solved, fitted)]
    for key in keys:
        if key not in ladders:
            what = f"is missing; the capacity of {card.name} is given by {' and '.join(card.capacity)}"
            faults.append(Fault(key, f"{what}, such as `{key}: [8]`"))
    products = itertools.product(*(ladders.get(key, []) for key in keys))
    return tuple(frozen_capacity(dict(zip(keys, values, strict=True))) for values in products), settings, faults


def _fault(card: MethodCard, known: Mapping[str, Setting], key: str, value: Option, solved: str | None) -> str:
    """Return what is wrong with a key, or nothing."""
    if key == solved:
        return f"`budgets` solves {key} of {card.name} on every model, so {value!r} cannot be given too. Fix: remove one of them"
    if key in card.capacity:
        return f"null is not a capacity of {card.name}" if value is None else ""
    if key in known:
        fault = known[key].fault(value)
        return f"{fault}." if fault else ""
    return f"{card.name} has no key {key!r}. {suggestion(key, (*card.capacity, *known, 'method', 'optimizer'))}"
