"""The rules on what is adapted and how: the same parts (F7), one precision and engine (F8), default settings (F12)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from orchestrator.fairness.adapted import adapted_roles, head_parameters, merged_marks, other_heads, own_positions
from orchestrator.fairness.conduct import Conduct
from orchestrator.fairness.entry import Entry
from orchestrator.fairness.rule import Rule, by_label, by_row, disagreements, distinct, grouped, pooled, several, verdict


def same_parts(entries: Sequence[Entry]) -> Rule:
    """F7: every method adapts the same matrices, and trains the same head, norms and biases besides.

    What a definition decides breaks no rule, but is marked: other positions than the targets, another head, more of the base than the
    adapter. The last is matched by a control row that trains the same extras and nothing else of the base.
    """
    tuned = [entry for entry in entries if not entry.cell.is_base]
    parts = grouped(tuned, lambda e: (e.cell.model, e.row), lambda e: (e.trial.targets, e.trial.head, e.trial.also_train))
    labels = by_label(tuned)
    return verdict(
        "F7",
        "same target roles, head, norms and biases",
        disagreements("adapts (targets, head, also_train)", parts),
        merged_marks(_unmatched(labels), own_positions(tuned), other_heads(tuned)),
        targets={model: [list(targets) for targets, _, _ in facts] for model, facts in pooled(parts).items()},
        adapted=adapted_roles(tuned),
        head=distinct(entry.trial.head for entry in tuned),
        head_parameters=head_parameters(tuned),
        also_train=distinct(extra for entry in tuned for extra in entry.trial.also_train),
        extras={label: list(entry.trains_extra) for label, entry in labels.items() if entry.trains_extra},
    )


def _unmatched(labels: Mapping[str, Entry]) -> dict[str, str]:
    """Return the marks of the labels that train more of the base than any control row."""
    controls = {frozenset(entry.trial.also_train) for entry in labels.values() if entry.is_control}
    return {
        label: f"unmatched: trains {', '.join(entry.trains_extra)} besides its adapter, and no control row does. "
        f"Fix: also_train: [{', '.join(entry.trains_extra)}] beside a LoRA row"
        for label, entry in labels.items()
        if entry.trains_extra and frozenset(entry.trial.also_train) | set(entry.trains_extra) not in controls
    }


def one_precision(entries: Sequence[Entry]) -> Rule:
    """F8: one base in one precision, and one engine configuration, for every row, the untuned model included."""
    bases = grouped(
        entries,
        lambda e: (e.cell.model, e.row),
        lambda e: (e.trial.model.dtype, e.trial.model.digest or e.trial.model.revision or ""),
    )
    deviations = disagreements("base (dtype, weights)", bases)
    observed: dict[tuple[str, str], set[str]] = {}
    for entry in entries:
        if entry.finished and entry.numerics is None:
            deviations.append(f"{entry.row} on {entry.scope}: trial {entry.trial.id} does not record its precision")
        for name, value in (entry.numerics or {}).items():
            observed.setdefault((f"{entry.cell.model}, {name}", entry.row), set()).add(_SORTED.encode(value))
    deviations += disagreements("numerics", observed)
    return verdict(
        "F8",
        "one precision, engine and DeepSpeed configuration",
        deviations,
        base={model: [dtype for dtype, _ in facts] for model, facts in pooled(bases).items()},
        adapter="float32",
        optimizer_state="float32",
        observed={where: [json.loads(text) for text in texts] for where, texts in pooled(observed).items()},
    )


def default_settings(entries: Sequence[Entry], conduct: Conduct) -> Rule:
    """F12: scale and settings are the registered defaults, or stand as a labelled variant beside the row that has them.

    Where studies draw the scale, every method has scales of its own, and F1 repeats each study.
    """
    tuned = [entry for entry in entries if not entry.cell.is_base]
    identities = grouped(tuned, lambda e: (e.cell.model, e.cell.label), _identity)
    deviations = several("one label stands for several methods, versions or settings:", identities)
    scales = grouped((e for e in tuned if e.selects), by_row, lambda e: e.trial.training.scale)
    if conduct.study is None or "scale" not in conduct.study.domain:
        deviations += disagreements("scale", scales)
    labels = by_label(tuned)
    plain = {entry.trial.method.name for entry in labels.values() if not _variation(entry)}
    variants = {label: variation for label, entry in labels.items() if (variation := _variation(entry))}
    marks = {
        label: f"no row of {labels[label].trial.method.name} with its defaults beside it"
        for label in variants
        if labels[label].trial.method.name not in plain
    }
    return verdict(
        "F12",
        "registered defaults, or a labelled variant beside them",
        deviations,
        marks,
        scale=distinct(scale for found in scales.values() for scale in found),
        defaults={label: dict(entry.defaults) for label, entry in labels.items() if entry.defaults},
        variants=variants,
    )


_SORTED = json.JSONEncoder(sort_keys=True)


def _identity(entry: Entry) -> tuple[str, str, str, str]:
    method, training = entry.trial.method, entry.trial.training
    settings = _SORTED.encode([method.settings, training.optimizer_settings])
    return method.name, method.version, settings, training.optimizer


def _variation(entry: Entry) -> Mapping[str, Any]:
    """Return the settings of a label that are not its method's defaults."""
    settings = entry.trial.method.settings.items()
    found: dict[str, Any] = {key: value for key, value in settings if key not in entry.defaults or value != entry.defaults[key]}
    if entry.trial.training.optimizer != entry.optimizer:
        found["optimizer"] = entry.trial.training.optimizer
    found |= entry.trial.training.optimizer_settings
    return found
