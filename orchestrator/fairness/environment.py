"""The rule on the environment: the same library versions, class of hardware and packing for all that is compared (F10)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from operator import attrgetter
from typing import Any

from orchestrator.fairness.entry import Entry
from orchestrator.fairness.packing import pack_widths, packing_deviations
from orchestrator.fairness.rule import Rule, by_row, disagreements, grouped, listed, verdict

Environment = Mapping[str, Any]


def one_environment(entries: Sequence[Entry]) -> Rule:
    """F10: rows that are compared ran in the same environments; where these are several for all of them alike, the rows are marked."""
    ran = [entry for entry in entries if entry.finished]
    deviations = [f"{e.row} on {e.scope}: trial {e.trial.id} does not record its environment" for e in ran if not e.environment]
    known = [entry for entry in ran if entry.environment]
    runs = Counter(entry.environment_name for entry in known)
    found = {entry.environment_name: flat(entry.environment or {}) for entry in known}
    usual = found[runs.most_common(1)[0][0]] if runs else {}
    changes = {name: differences(usual, content) for name, content in found.items()}

    def differ(names: frozenset[str], others: frozenset[str]) -> str:
        parts = [change for name in sorted(names ^ others) for change in changes[name]]
        return f"{listed(names)}, where others have {listed(others)}: {', '.join(dict.fromkeys(parts))}"

    places = grouped((e for e in known if not e.cell.is_base), by_row, attrgetter("environment_name"))
    deviations += disagreements("environments", places, differ)
    deviations += _foreign_base(known)
    deviations += packing_deviations(entries)
    return verdict(
        "F10",
        "one environment: library versions and hardware class",
        deviations,
        {} if deviations else _mixtures(known),
        environments={name: {"runs": runs[name], "differs": changes[name], "content": found[name]} for name in runs},
        packed=pack_widths(entries),
    )


def flat(environment: Environment) -> dict[str, str]:
    """Return an environment as `torch` -> `2.13.0`, `processor` -> ..."""
    return {name: str(value) for part in environment.values() if isinstance(part, Mapping) for name, value in part.items()}


def differences(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """Return what differs between two flat environments, such as `torch 2.12.0 -> 2.13.0`."""
    names = sorted({*before, *after})
    return [
        f"{name} {before.get(name, 'none')} -> {after.get(name, 'none')}"
        for name in names
        if before.get(name, "none") != after.get(name, "none")
    ]


def _foreign_base(entries: Sequence[Entry]) -> list[str]:
    """Return where the untuned model, which runs once, ran in an environment that no other row of its scope ran in."""
    others = grouped((e for e in entries if not e.cell.is_base), lambda e: e.scope, attrgetter("environment_name"))
    foreign = (e for e in entries if e.cell.is_base and e.scope in others and e.environment_name not in others[e.scope])
    return [f"{e.row} on {e.scope}: environments {e.environment_name}, where others have {listed(others[e.scope])}" for e in foreign]


def _mixtures(entries: Sequence[Entry]) -> dict[str, str]:
    """Return the marks of rows that ran in several environments, like all rows that they are compared with."""
    rows = grouped((e for e in entries if not e.cell.is_base), lambda e: f"{e.row} on {e.cell.model}", attrgetter("environment_name"))
    return {row: f"ran in {len(names)} environments: {listed(names)}" for row, names in rows.items() if len(names) > 1}
