"""The digest of a sweep, from a plan that was just made, or from one that was recorded."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from search_spaces.trial import digest


def sweep_digest(
    select: Iterable[tuple[str, str]],
    base: Iterable[str],
    report_seeds: Iterable[int],
    search: Mapping[str, Any] | None,
    budgets: Mapping[str, Any] | None,
) -> str:
    """Hash what a sweep means: its trials, under the labels that the board shows, and how they are searched and reported.

    Args:
        select: label and id of every select trial.
        base: ids of the untuned model's trials.
        report_seeds: seeds of the report phase.
        search: how the studies of the sweep run; None for one of a grid, whose points its trials hold.
        budgets: the section of the sweep file.
    """
    content: dict[str, Any] = {
        "select": sorted(list(pair) for pair in select),
        "base": sorted(base),
        "report_seeds": sorted(report_seeds),
        "search": "grid" if search is None else dict(search),
    }
    if budgets is not None:
        # The trials hold the capacities; rows that are refused, or off their budget, are on the board as well.
        content["budgets"] = dict(budgets)
    return digest(content)
