"""The sizes that every method comes in on one base model, and what parameter budgets buy of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.counting import accepted
from search_spaces.budgets import BudgetsSection
from search_spaces.capacity import Fit, Match, Size
from search_spaces.errors import CapacityError, NotApplicableError
from search_spaces.trial import ModelRef

TOLERANCE: float = BudgetsSection.model_fields["tolerance"].default


@dataclass(frozen=True)
class Sizing:
    """What sizes are asked for.

    Attributes:
        model: registered name, hub id or local folder.
        targets: roles; empty takes every method's own.
        budgets: trainable parameters at the peak of training, without the head.
        match: the largest capacity below a budget, or the nearest.
        also_train: `norms`, `biases`.
        tolerance: relative distance at which the end of a ladder still serves a budget; by default that of a sweep file.
        given: settings, and capacity keys that no budget solves; every method takes those that it has.
    """

    model: str
    targets: tuple[str, ...] = ()
    budgets: tuple[int, ...] = ()
    match: Match = "below"
    also_train: tuple[str, ...] = ()
    tolerance: float = TOLERANCE
    given: Mapping[str, Any] = field(default_factory=dict)

    def of(self, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the rows of `fairsweep methods` with every method's sizes.

        Raises:
            UnknownNameError: the model, a role or a key does not exist.
            ModelError: the model cannot be loaded.
        """
        from trainers import references

        ref, listed = references.resolve(ModelRef(id=self.model)), list(rows)
        taken = accepted([row["name"] for row in listed], self.given)
        return [{**row, "model": self.model, **self._sizes(ref, row["name"], taken[row["name"]])} for row in listed]

    def _sizes(self, model: ModelRef, method: str, given: Mapping[str, Any]) -> dict[str, Any]:
        from trainers.capacity import ladder
        from trainers.registry import method_type

        keys = method_type(method).card.capacity
        others = {key: value for key, value in given.items() if key in keys}
        settings = {key: value for key, value in given.items() if key not in keys}
        try:
            sizes = ladder(model, method, self.targets, settings, others, self.also_train)
            smallest = sizes.smallest
            larger = sizes.larger(smallest)
            fits = [sizes.fit(budget, self.match, self.tolerance) for budget in self.budgets]
        except (NotApplicableError, CapacityError) as error:
            return {"smallest": None, "step": None, "fixed": None, "budgets": [], "refused": str(error)}
        step = larger.trainable - smallest.trainable if larger else None
        bought = [_fit_json(fit) for fit in fits]
        return {"smallest": _size_json(smallest), "step": step, "fixed": sizes.is_fixed, "budgets": bought, "refused": None}


def table_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return sizes as the rows of a table, with one column per budget."""
    return [
        {
            "name": row["name"],
            "family": row["family"],
            "smallest": _written(row["smallest"]["capacity"]) if row["smallest"] else "none",
            "parameters": row["smallest"] and row["smallest"]["trainable"],
            "next size": f"+{row['step']:,}" if row["step"] is not None else "",
            **{f"{fit['budget']:,}": _bought(fit, fixed=row["fixed"]) for fit in row["budgets"]},
        }
        for row in rows
        if not row["refused"]
    ]


def remarks(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return why methods have no size on the model."""
    return [f"{row['name']}: {row['refused']}" for row in rows if row["refused"]]


def _bought(fit: Mapping[str, Any], *, fixed: bool) -> str:
    if fixed:
        return f"{fit['nearest']['trainable']:,} ({fit['off']:+,.1%})"
    if fit["reached"]:
        return f"{_written(fit['capacity'])}: {fit['trainable']:,} ({fit['off']:+.1%})"
    return f"none ({fit['nearest']['trainable']:,} at {'least' if fit['off'] > 0 else 'most'})"


def _size_json(size: Size) -> dict[str, Any]:
    return {"capacity": dict(size.capacity), "trainable": size.trainable}


def _fit_json(fit: Fit) -> dict[str, Any]:
    bought = _size_json(fit.size) if fit.reached else {"capacity": None, "trainable": None}
    return {
        "budget": fit.budget,
        **bought,
        "off": fit.off,
        "reached": fit.reached,
        "nearest": _size_json(fit.size),
        "next": _size_json(fit.larger) if fit.larger else None,
        "step": fit.step,
        "words": fit.words,
    }


def _written(capacity: Mapping[str, Any]) -> str:
    return ", ".join(f"{key}={value}" for key, value in capacity.items()) or "fixed"
