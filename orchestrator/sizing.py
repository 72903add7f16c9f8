"""The sizes that every method comes in on one base model, and what parameter budgets buy of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search_spaces.capacity import Fit, Match, Size
from search_spaces.errors import CapacityError, NotApplicableError
from search_spaces.trial import ModelRef


@dataclass(frozen=True)
class Sizing:
    """What sizes are asked for.

    Attributes:
        model: registered name, hub id or local folder.
        targets: roles; empty takes every method's own.
        budgets: trainable parameters at the peak of training, without the head.
        match: the largest capacity below a budget, or the nearest.
        also_train: `norms`, `biases`.
    """

    model: str
    targets: tuple[str, ...] = ()
    budgets: tuple[int, ...] = ()
    match: Match = "below"
    also_train: tuple[str, ...] = ()

    def of(self, rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Return the rows of `fairsweep methods` with every method's sizes.

        Raises:
            UnknownNameError: the model or a role does not exist.
            ModelError: the model cannot be loaded.
        """
        from trainers import references

        ref = references.resolve(ModelRef(id=self.model))
        return [{**row, "model": self.model, **self._sizes(ref, row["name"])} for row in rows]

    def _sizes(self, model: ModelRef, method: str) -> dict[str, Any]:
        from trainers.capacity import ladder

        try:
            sizes = ladder(model, method, self.targets, also_train=self.also_train)
            smallest = sizes.smallest
            larger = sizes.larger(smallest)
            fits = [sizes.fit(budget, self.match) for budget in self.budgets]
        except (NotApplicableError, CapacityError) as error:
            return {"smallest": None, "step": None, "budgets": [], "refused": str(error)}
        step = larger.trainable - smallest.trainable if larger else None
        return {"smallest": _size_json(smallest), "step": step, "budgets": [_fit_json(fit) for fit in fits], "refused": None}


def table_rows(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return sizes as the rows of a table, with one column per budget."""
    return [
        {
            "name": row["name"],
            "family": row["family"],
            "smallest": _written(row["smallest"]["capacity"]) if row["smallest"] else "none",
            "parameters": row["smallest"] and row["smallest"]["trainable"],
            "next size": f"+{row['step']:,}" if row["step"] is not None else "",
            **{f"{fit['budget']:,}": _bought(fit) for fit in row["budgets"]},
        }
        for row in rows
        if not row["refused"]
    ]


def remarks(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return why methods have no size on the model."""
    return [f"{row['name']}: {row['refused']}" for row in rows if row["refused"]]


def _bought(fit: Mapping[str, Any]) -> str:
    if not fit["nearest"]["capacity"]:
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
