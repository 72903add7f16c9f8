"""What is adapted in fact, which a method's definition may decide: positions, and the classification head. For F7."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from orchestrator.fairness.entry import Entry

Marks = dict[str, str]


def adapted_roles(entries: Iterable[Entry]) -> dict[str, dict[str, list[str]]]:
    """Return the roles that the rows act on where they are not the sweep's targets: model -> row -> roles."""
    found: dict[str, dict[str, list[str]]] = {}
    for entry in entries:
        if entry.roles is not None and set(entry.roles) != set(entry.trial.targets):
            found.setdefault(entry.cell.model, {})[entry.row] = list(entry.roles)
    return found


def own_positions(entries: Sequence[Entry]) -> Marks:
    """Return the marks of the rows whose definition fixes other positions than the sweep's targets."""
    targets = {entry.cell.model: entry.trial.targets for entry in entries}
    words = {
        (row, model): f"attaches to {', '.join(roles) or 'no matrices by role'}, as its definition fixes, "
        f"where the sweep targets {', '.join(targets[model])}"
        for model, rows in adapted_roles(entries).items()
        for row, roles in rows.items()
    }
    return _shortest(words, entries)


def head_parameters(entries: Iterable[Entry]) -> dict[str, dict[str, int]]:
    """Return the trainable parameters of the classification head: scope -> row -> number; nothing for models without one."""
    found: dict[str, dict[str, int]] = {}
    for entry in entries:
        if entry.counts is not None:
            found.setdefault(entry.scope, {})[entry.row] = entry.counts.head
    return {scope: rows for scope, rows in found.items() if any(rows.values())}


def other_heads(entries: Sequence[Entry]) -> Marks:
    """Return the marks of the rows that train another head than most, or train it in some steps only."""
    heads = head_parameters(entries)
    words: dict[tuple[str, str], str] = {}
    for entry in entries:
        rows = heads.get(entry.scope, {})
        if entry.row not in rows:
            continue
        usual, own = Counter(rows.values()).most_common(1)[0][0], rows[entry.row]
        parts = [entry.head_schedule] if entry.head_schedule and own else []
        if own != usual:
            parts.append(
                f"trains {own:,} parameters of the head where other rows train {usual:,}: its definition freezes the rest, "
                "or counts what it trains of it with the adapter"
            )
        if parts:
            words.setdefault((entry.row, entry.cell.model), "; ".join(parts))
    return _shortest(words, entries)


def merged_marks(*marks: Mapping[str, str]) -> Marks:
    """Return all marks, those under one name joined."""
    merged: dict[str, list[str]] = {}
    for some in marks:
        for name, mark in some.items():
            merged.setdefault(name, []).append(mark)
    return {name: "; ".join(texts) for name, texts in merged.items()}


def _shortest(words: Mapping[tuple[str, str], str], entries: Iterable[Entry]) -> Marks:
    """Name marks by (row, model), or by the label alone where all its rows carry the same one."""
    rows: dict[str, set[tuple[str, str]]] = {}
    for entry in entries:
        rows.setdefault(entry.cell.label, set()).add((entry.row, entry.cell.model))
    marks: Marks = {}
    for label, places in rows.items():
        found = {place: words[place] for place in sorted(places) if place in words}
        if len(found) == len(places) and len(set(found.values())) == 1:
            marks[label] = next(iter(found.values()))
        else:
            marks |= {f"{row} on {model}": mark for (row, model), mark in found.items()}
    return marks
