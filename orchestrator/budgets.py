"""Capacities from parameter budgets: what one method has to offer on one model for each budget of a sweep."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.cells import Capacity, frozen_capacity
from search_spaces.budgets import BudgetsSection
from search_spaces.capacity import Fit, Ladder
from search_spaces.trial import Scalar
from trainers.api import MethodCard
from trainers.results import Counts

BUDGET = "budget"
"""Stands in the capacity of a cell that is refused because its method has no size for the budget."""


@dataclass
class Solved:
    """What the budgets come to, by capacity.

    Attributes:
        fits: what each capacity was solved for; several budgets may come to one.
        counts: parameters of these capacities.
        refused: why a budget is out of reach, under the capacity that stands in for it.
    """

    fits: dict[Capacity, tuple[Fit, ...]] = field(default_factory=dict)
    counts: dict[Capacity, Counts] = field(default_factory=dict)
    refused: dict[Capacity, str] = field(default_factory=dict)


def solve(card: MethodCard, rest: Capacity, budgets: BudgetsSection, count: Callable[[Mapping[str, Scalar]], Counts]) -> Solved:
    """Solve the first capacity key for every budget.

    A method of fixed size keeps it, beside the budget that is nearest.

    Args:
        card: the method's card.
        rest: values of the keys after the first, and of the first where no budget solves it and the file gives it.
        budgets: the sweep's section.
        count: parameters at a capacity.

    Raises:
        CapacityError: no whole number is a capacity, or all of them come to one size.
        NotApplicableError: the method's definition does not cover the model.
    """
    measured: dict[Capacity, Counts] = {}

    def peak(capacity: Mapping[str, Scalar]) -> int:
        counts = measured[frozen_capacity(capacity)] = count(capacity)
        return counts.peak

    ladder = Ladder(card.capacity, peak, dict(rest), card.capacity_defaults.get(card.capacity[0]) if card.capacity else None)
    fits = [ladder.fit(budget, budgets.match, budgets.tolerance) for budget in budgets.counts]
    if ladder.is_fixed:
        fits = [min(fits, key=lambda fit: abs(fit.off))]
    solved = Solved()
    for fit in fits:
        capacity = frozen_capacity(fit.size.capacity)
        if fit.reached or ladder.is_fixed:
            solved.fits[capacity] = (*solved.fits.get(capacity, ()), fit)
            solved.counts[capacity] = measured[capacity]
        else:
            solved.refused[frozen_capacity({**dict(rest), BUDGET: fit.budget})] = fit.reason
    return solved


def fit_json(fit: Fit, tolerance: float) -> dict[str, Any]:
    """Return how a budget was met, for JSON."""
    return {"budget": fit.budget, "off": fit.off, "within_tolerance": abs(fit.off) <= tolerance, "step": fit.step, "words": fit.words}
