"""The rules on data and budget: the same data (F3), the same budget (F4), the test split read once (F6)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from orchestrator.fairness.conduct import Conduct
from orchestrator.fairness.entry import Entry
from orchestrator.fairness.halving import halving_deviations, halving_facts
from orchestrator.fairness.rule import Rule, by_row, disagreements, grouped, listed, pooled, verdict

DATA_FACTS = ("digest", "train", "selection", "test", "seed", "max_length", "max_new_tokens", "batches")
BUDGET_FACTS = ("epochs", "steps", "batch_size", "evaluations")
USAGE_FACTS = ("steps", "examples", "text_tokens", "evaluations")
UNHALVED = Conduct()


def same_data(entries: Sequence[Entry]) -> Rule:
    """F3: every method, and the untuned model, sees the same examples, in the same order per seed, cut at the same length."""
    planned = grouped(entries, by_row, _data)
    deviations = disagreements("data", planned, _differing)
    observed: dict[tuple[str, str], set[str]] = {}
    for entry in entries:
        deviations += _unread(entry)
        for split, digest in (entry.data_digests or {}).items():
            observed.setdefault((f"{entry.scope}, {_drawn(entry, split)}", entry.row), set()).add(digest)
    deviations += disagreements("digest", observed)
    shown = {scope: [dict(zip(DATA_FACTS, fact, strict=True)) for fact in facts] for scope, facts in pooled(planned).items()}
    return verdict("F3", "identical data: splits, caps, order per seed, truncation", deviations, data=shown, digests=pooled(observed))


def same_budget(entries: Sequence[Entry], conduct: Conduct = UNHALVED) -> Rule:
    """F4: every method gets the same examples, text tokens, steps and evaluations; virtual tokens are shown, not hidden.

    Where the sweep is halved, that is the same rungs and survivors, and every trial ended where the scores say.
    """
    selects, reports = [e for e in entries if e.selects], [e for e in entries if e.reports]
    planned = grouped(selects, by_row, _budget)
    deviations = disagreements("budgets", planned, _budgets_differ)
    for where, budgets in grouped(reports, by_row, _budget).items():
        # A selected point may have fixed the budget, if the grid varies it: then it is one of those that all methods had.
        if beyond := budgets - planned.get(where, set()):
            deviations.append(f"{where[1]} on {where[0]}: reported with a budget that was not searched: {listed(map(_written, beyond))}")
    deviations += halving_deviations(entries, conduct.halving)
    finished = [entry for entry in (*selects, *reports) if entry.finished]
    deviations += [f"{e.row} on {e.scope}: trial {e.trial.id} does not record its usage" for e in finished if e.usage is None]
    used = grouped((e for e in finished if e.usage), lambda e: (_run(e), e.row), _usage)
    deviations += disagreements(f"used {USAGE_FACTS}", used)
    virtual = grouped((e for e in finished if e.usage), lambda e: e.cell.label, lambda e: e.usage.virtual_tokens if e.usage else 0)
    return verdict(
        "F4",
        "identical budget: examples, text tokens, steps, evaluations",
        deviations,
        budgets=_budgets(selects),
        **({"halving": halved} if (halved := halving_facts(entries, conduct.halving)) else {}),
        observed={run: dict(zip(USAGE_FACTS, fact, strict=True)) for (run, _), facts in used.items() for fact in sorted(facts)[:1]},
        virtual_tokens={label: max(found) for label, found in virtual.items() if max(found)},
    )


def test_read_once(entries: Sequence[Entry]) -> Rule:
    """F6: selection never reads the test split, and each report run reads it once, at one selected point."""
    deviations = [fault for entry in entries for fault in _test_faults(entry)]
    reports = [entry for entry in entries if entry.trial.phase == "report"]
    for (scope, row), points in grouped(reports, by_row, lambda e: tuple(sorted(e.trial.point.items()))).items():
        if len(points) > 1:
            where = f"{len(points)} grid points: {listed(map(dict, points))}"
            deviations.append(f"{row} on {scope}: the test split was read by report runs at {where}")
    reads: dict[str, int | None] = {}
    for phase in ("select", "report"):
        used = [entry.usage.test_reads for entry in entries if entry.trial.phase == phase and entry.usage]
        reads[phase] = sum(used) if used else None
    allowed = {"select": 0, "report": 1}
    return verdict(
        "F6",
        "test split read once per report run, never to select",
        deviations,
        allowed_per_run=allowed,
        reads=reads,
        report_runs=len(reports),
    )


def _data(entry: Entry) -> tuple[Any, ...]:
    data, training = entry.trial.data, entry.trial.training
    caps = data.train, data.selection, data.test, data.seed
    return data.digest, *caps, training.max_length, training.max_new_tokens, training.batches


def _differing(facts: frozenset[tuple[Any, ...]], usual: frozenset[tuple[Any, ...]]) -> str:
    expected = next(iter(usual))
    parts = [
        f"has {name}={value}, where others have {other}"
        for fact in sorted(facts - usual, key=str)
        for name, value, other in zip(DATA_FACTS, fact, expected, strict=True)
        if value != other
    ]
    return "; ".join(parts) or f"lacks {listed(usual - facts)}"


def _drawn(entry: Entry, split: str) -> str:
    """Name what must be equal: a split, or the order that a seed and a budget give."""
    if split != "order":
        return split
    training = entry.trial.training
    return f"order of seed {entry.trial.seed_of('order')} ({_written(_budget(entry)[:2])}, batch_size={training.batch_size})"


def _unread(entry: Entry) -> Iterable[str]:
    """Yield the splits that a finished trial must have read and does not show."""
    due = {"test"} if entry.trial.phase == "report" else set()
    due |= set() if entry.cell.is_base else {"train"}
    if entry.finished and (missing := due - set(entry.data_digests or {})):
        yield f"{entry.row} on {entry.scope}: trial {entry.trial.id} records no digest of {listed(missing)}"


def _budget(entry: Entry) -> tuple[Any, ...]:
    training = entry.trial.training
    return training.epochs, training.steps, training.batch_size, training.checkpoint.evaluations


def _written(budget: Sequence[Any]) -> str:
    return ", ".join(f"{name}={value}" for name, value in zip(BUDGET_FACTS, budget, strict=False) if value is not None)


def _budgets_differ(facts: frozenset[tuple[Any, ...]], usual: frozenset[tuple[Any, ...]]) -> str:
    return f"{listed(map(_written, facts))}, where others have {listed(map(_written, usual))}"


def _budgets(selects: Sequence[Entry]) -> dict[str, list[dict[str, Any]]]:
    found = grouped(selects, lambda entry: entry.scope, _budget)
    return {
        scope: [dict(zip(BUDGET_FACTS, budget, strict=True)) for budget in sorted(budgets, key=str)] for scope, budgets in found.items()
    }


def _run(entry: Entry) -> str:
    return f"{entry.scope}, {entry.trial.phase} seed {entry.trial.seed} ({_written(_budget(entry))})"


def _usage(entry: Entry) -> tuple[int, ...]:
    return tuple(getattr(entry.usage, name) for name in USAGE_FACTS)


def _test_faults(entry: Entry) -> Iterable[str]:
    where = f"{entry.row} on {entry.scope}: trial {entry.trial.id}"
    reads = entry.usage.test_reads if entry.usage else 0
    if entry.trial.phase == "select":
        shown = sorted(name for name in (entry.metrics or {}) if name.startswith("test/"))
        if reads or shown or "test" in (entry.data_digests or {}):
            yield f"{where} of the select phase read the test split ({reads} reads; {', '.join(shown) or 'no test metrics'})"
    elif reads > 1 or (entry.finished and reads != 1):
        yield f"{where} read the test split {reads} times"
