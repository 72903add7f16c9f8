"""A rule's verdict, and the tools by which rules find who deviates."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from orchestrator.fairness.entry import Entry

Key = TypeVar("Key", bound=Hashable)
Fact = TypeVar("Fact", bound=Hashable)


@dataclass(frozen=True)
class Rule:
    """What one rule found.

    Attributes:
        id: such as `F1`.
        title: the rule in a few words.
        ok: whether the comparison keeps it.
        evidence: the facts, JSON-like; `deviations` says who deviates and how, `marks` what a row must carry on the board.
    """

    id: str
    title: str
    ok: bool
    evidence: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return the rule as INTERFACES describes it."""
        return {"id": self.id, "title": self.title, "ok": self.ok, "evidence": dict(self.evidence)}


def verdict(name: str, title: str, deviations: Sequence[str], marks: Mapping[str, str] | None = None, **facts: Any) -> Rule:
    """Return a rule that holds when nobody deviates."""
    return Rule(name, title, not deviations, {**facts, "deviations": list(deviations), "marks": dict(marks or {})})


def grouped(entries: Iterable[Entry], key: Callable[[Entry], Key], fact: Callable[[Entry], Fact]) -> dict[Key, set[Fact]]:
    """Return the distinct facts of the entries under each key, in the order in which the keys appear."""
    groups: dict[Key, set[Fact]] = {}
    for entry in entries:
        groups.setdefault(key(entry), set()).add(fact(entry))
    return groups


def by_row(entry: Entry) -> tuple[str, str]:
    """Key entries by what is compared, and by the row."""
    return entry.scope, entry.row


def listed(facts: Iterable[object]) -> str:
    """Write a set of facts for people, in a stable order."""
    return " and ".join(sorted(str(sorted(fact)) if isinstance(fact, frozenset) else str(fact) for fact in facts)) or "nothing"


def against(facts: frozenset[Any], usual: frozenset[Any]) -> str:
    """Write how a row's facts differ from the usual ones."""
    return f"{listed(facts)}, where others have {listed(usual)}"


def disagreements(
    what: str,
    groups: Mapping[tuple[str, str], set[Fact]],
    differ: Callable[[frozenset[Fact], frozenset[Fact]], str] = against,
) -> list[str]:
    """Return who deviates within each scope from what most rows have, and how.

    Args:
        what: the name of the fact.
        groups: (scope, row) -> the row's distinct facts.
        differ: writes a row's facts beside the usual ones.
    """
    scopes: dict[str, dict[str, frozenset[Fact]]] = {}
    for (scope, row), facts in groups.items():
        scopes.setdefault(scope, {})[row] = frozenset(facts)
    found = []
    for scope, rows in scopes.items():
        usual = Counter(rows.values()).most_common(1)[0][0]
        found += [f"{row} on {scope}: {what} {differ(facts, usual)}" for row, facts in rows.items() if facts != usual]
    return found


def pooled(groups: Mapping[tuple[str, str], set[Fact]]) -> dict[str, list[Any]]:
    """Return the distinct facts of each scope, over all its rows."""
    scopes: dict[str, set[Fact]] = {}
    for (scope, _), facts in groups.items():
        scopes.setdefault(scope, set()).update(facts)
    return {scope: distinct(facts) for scope, facts in scopes.items()}


def several(what: str, groups: Mapping[tuple[str, str], set[Fact]]) -> list[str]:
    """Return where a fact that must have one value has several."""
    return [f"{row} on {scope}: {what} {listed(facts)}" for (scope, row), facts in groups.items() if len(facts) > 1]


def distinct(items: Iterable[Any]) -> list[Any]:
    """Return distinct values in a stable order, for JSON."""
    return sorted(
        set(items),
        key=lambda value: (not isinstance(value, int | float), value if isinstance(value, int | float) else 0, str(value)),
    )


def by_label(entries: Iterable[Entry]) -> dict[str, Entry]:
    """Return one entry of each method's label."""
    found: dict[str, Entry] = {}
    for entry in entries:
        if not entry.cell.is_base:
            found.setdefault(entry.cell.label, entry)
    return found
