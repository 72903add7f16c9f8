"""Which rows are told apart, as letters and as intervals of ranks, from tests of all pairs."""

from __future__ import annotations

import string
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import combinations_with_replacement
from typing import Protocol

from orchestrator.leaderboard.analysis import Verdict

TOLD_APART: tuple[Verdict, ...] = ("better", "worse")


class Compared(Protocol):
    """A pair of rows with the verdict of the first against the second."""

    @property
    def a(self) -> str:
        """The first row."""
        ...

    @property
    def b(self) -> str:
        """The second row."""
        ...

    @property
    def verdict(self) -> Verdict:
        """Of a against b."""
        ...


def letters(rows: Sequence[str], pairs: Iterable[Compared]) -> dict[str, str]:
    """Return letters of each row: two rows that share one are not told apart, two that share none are.

    That is no equivalence: a row may share a letter with each of two rows that are told apart.

    Args:
        rows: from the best to the worst; `a` goes to the best row.
        pairs: tests of a family. A row that takes part in none has no letter.

    Source: insert and absorb, Piepho 2004, An algorithm for a letter-based representation of all-pairwise comparisons; then letters that
    say nothing new are left out.
    """
    pairs = list(pairs)
    tested = {name for pair in pairs for name in (pair.a, pair.b)}
    order = [row for row in rows if row in tested]
    columns = [frozenset(order)] if order else []
    for pair in pairs:
        if pair.verdict in TOLD_APART:
            columns = _without(columns, pair.a, pair.b)
    columns = _needed(columns)
    place = {row: number for number, row in enumerate(order)}
    columns.sort(key=lambda column: sorted(place[row] for row in column))
    signs = {column: _sign(number) for number, column in enumerate(columns)}
    return {row: "".join(signs[column] for column in columns if row in column) for row in rows}


def _without(columns: list[frozenset[str]], a: str, b: str) -> list[frozenset[str]]:
    """Split the columns that hold both rows, and absorb those that others hold altogether."""
    both = [column for column in columns if {a, b} <= column]
    kept = [column for column in columns if not {a, b} <= column]
    parts = {column - {name} for column in both for name in (a, b)}
    # A column that was kept lies in no other one, but a part may lie in a kept column or in another part.
    return kept + [part for part in parts if not any(part < other for other in parts) and not any(part <= column for column in kept)]


def _needed(columns: list[frozenset[str]]) -> list[frozenset[str]]:
    """Leave out the columns all of whose pairs share another letter."""
    shared = Counter(pair for column in columns for pair in _pairs(column))
    needed = []
    for column in sorted(columns, key=lambda column: (len(column), sorted(column))):
        if all(shared[pair] > 1 for pair in _pairs(column)):
            shared.subtract(_pairs(column))
        else:
            needed.append(column)
    return needed


def _pairs(column: frozenset[str]) -> Iterator[tuple[str, str]]:
    """Give the pairs of rows of a column, each row with itself included: every row needs a letter."""
    return combinations_with_replacement(sorted(column), 2)


def _sign(number: int) -> str:
    """Return a, b, ..., Z, and from the 53rd on such as `(53)`."""
    return string.ascii_letters[number] if number < len(string.ascii_letters) else f"({number + 1})"


def rank_intervals(rows: Sequence[str], pairs: Iterable[Compared]) -> dict[str, tuple[int, int]]:
    """Return the ranks that each row may have: below all that are told to be better, above all that are told to be worse.

    All intervals hold together with the level of the family of tests (Al Mohamad, Goeman & van Zwet 2022, Simultaneous confidence
    intervals for ranks using the partitioning principle).

    Args:
        rows: rows that have a rank; those that take part in no pair are left out of the answer.
        pairs: tests of a family.
    """
    ranked = set(rows)
    above: dict[str, int] = {}
    below: dict[str, int] = {}
    for pair in pairs:
        if not {pair.a, pair.b} <= ranked:
            continue
        for name in (pair.a, pair.b):
            above.setdefault(name, 0)
            below.setdefault(name, 0)
        if pair.verdict in TOLD_APART:
            better, worse = (pair.a, pair.b) if pair.verdict == "better" else (pair.b, pair.a)
            above[worse] += 1
            below[better] += 1
    return {row: (1 + above[row], len(above) - below[row]) for row in rows if row in above}
