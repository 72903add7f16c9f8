"""The `budgets` section: parameter budgets, for which the capacity of every method is solved."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, Field

from search_spaces.capacity import Match
from search_spaces.errors import Fault
from search_spaces.faults import Section
from search_spaces.sections import Tuple

Count = Annotated[int, Field(ge=1)]


def _ascending(counts: tuple[int, ...]) -> tuple[int, ...]:
    """Bring the budgets into one order: their order in the file means nothing."""
    return tuple(sorted(counts))


class BudgetsSection(Section):
    """`{counts: [20_000, 300_000], match: below, tolerance: 0.05}`."""

    counts: Annotated[tuple[Count, ...], Tuple, Field(min_length=1), AfterValidator(_ascending)]
    """Trainable parameters at the peak of training, without the head."""
    match: Match = "below"
    """The largest capacity below the budget, or the nearest."""
    tolerance: float = Field(default=0.05, ge=0, lt=1)
    """Relative distance from the budget up to which a row carries no mark."""

    misplaced: ClassVar[Mapping[str, str]] = dict.fromkeys(
        ("count", "parameters", "trainable", "budget", "sizes"), "write `budgets: {counts: [...]}`"
    )

    @classmethod
    def cross_faults(cls, raw: Mapping[str, Any]) -> Iterable[Fault]:
        """Yield repeated budgets."""
        counts = raw.get("counts")
        if isinstance(counts, list):
            yield from (Fault("counts", f"{n!r} is listed more than once") for i, n in enumerate(counts) if n in counts[:i])
