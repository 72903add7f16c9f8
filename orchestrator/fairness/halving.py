"""What the rule on the budget says of halved sweeps: the same rungs for every method, and every trial ended where its scores say (F4)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from orchestrator.fairness.entry import Entry
from orchestrator.fairness.rule import by_row, disagreements
from orchestrator.halving import SURVIVORS_RULE, Rungs, Standing, Verdict, standing_of, verdicts
from orchestrator.selection import frozen
from search_spaces.halving import HalvingSection

Rows = Mapping[tuple[str, str], Sequence[Entry]]
"""(scope, row) -> select trials."""


def halving_deviations(entries: Sequence[Entry], section: HalvingSection | None) -> list[str]:
    """Return who was not given up, or was, as all others are."""
    if section is None:
        pruned = (entry for entry in entries if entry.status == "pruned")
        return [f"{_named(entry)} was stopped early, and nothing in this sweep stops trials" for entry in pruned]
    rows = _rows(entries)
    planned = {row: {_rungs(some, section)} for row, some in rows.items()}
    found = disagreements("rungs", planned)
    found += [f"{_named(entry)} reports a run that was stopped early" for entry in entries if entry.reports and entry.status == "pruned"]
    for some in rows.values():
        if all(entry.status is not None for entry in some):
            found += _misjudged(some, _rungs(some, section))
    return found


def halving_facts(entries: Sequence[Entry], section: HalvingSection | None) -> dict[str, Any] | None:
    """Return the rungs, what they cost and, where trials ran, how many of each row ended where; None for a sweep that is not halved."""
    if section is None:
        return None
    rows = _rows(entries)
    scopes = {scope: _rungs(some, section).to_json() for (scope, _), some in rows.items()}
    seeds = {scope: len({entry.trial.seed for entry in some}) for (scope, _), some in rows.items()}
    facts: dict[str, Any] = {
        **section.model_dump(),
        "survivors": SURVIVORS_RULE,
        "scopes": {scope: {**rungs, "seeds": seeds[scope]} for scope, rungs in scopes.items()},
    }
    observed = {f"{row} on {scope}": _observed(some) for (scope, row), some in rows.items() if any(e.status for e in some)}
    return {**facts, "observed": observed} if observed else facts


def _rows(entries: Iterable[Entry]) -> dict[tuple[str, str], list[Entry]]:
    rows: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries:
        if entry.selects and entry.trial.training.steps is not None:
            rows.setdefault(by_row(entry), []).append(entry)
    return rows


def _rungs(entries: Sequence[Entry], section: HalvingSection) -> Rungs:
    return Rungs.of(section, entries[0].trial.training, len({frozen(entry.trial.point) for entry in entries}))


def _misjudged(entries: Sequence[Entry], rungs: Rungs) -> Iterator[str]:
    """Yield the trials of a row that ended elsewhere than the scores at the rungs say."""
    due = verdicts(rungs, {entry.trial.id: _standing(entry, rungs) for entry in entries})
    for entry in entries:
        steps, verdict = entry.usage.steps if entry.usage else 0, due[entry.trial.id]
        if entry.status == "pruned" and (not verdict.is_out or steps != verdict.until):
            yield f"{_named(entry)} was stopped at step {steps}, where its scores at the rungs {_written(verdict, rungs)}"
        elif entry.status == "finished" and (verdict.is_out or verdict.is_open or steps != rungs.length):
            yield f"{_named(entry)} trained for {steps} steps, where its scores at the rungs {_written(verdict, rungs)}"


def _standing(entry: Entry, rungs: Rungs) -> Standing:
    assert entry.status is not None
    return standing_of(entry.trial, entry.status, entry.metrics or {}, rungs, entry.main)


def _written(verdict: Verdict, rungs: Rungs) -> str:
    if verdict.is_open:
        return f"are not all known at step {verdict.until}"
    return f"end it at step {verdict.until}" if verdict.is_out else f"let it go on to step {rungs.length}"


def _observed(entries: Sequence[Entry]) -> dict[str, Any]:
    ended: dict[int, int] = {}
    for entry in entries:
        if entry.status == "pruned" and entry.usage:
            ended[entry.usage.steps] = ended.get(entry.usage.steps, 0) + 1
    return {
        "ended": {str(step): ended[step] for step in sorted(ended)},
        "finished": sum(entry.finished for entry in entries),
        "failed": sum(entry.status not in (None, "finished", "pruned") for entry in entries),
        "steps": sum(entry.usage.steps for entry in entries if entry.usage),
    }


def _named(entry: Entry) -> str:
    return f"{entry.row} on {entry.scope}: trial {entry.trial.id}"
