"""The certificate: every rule applied to a sweep, planned or run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from orchestrator.fairness.budget import same_budget, same_data, test_read_once
from orchestrator.fairness.capacity import capacity_ladders
from orchestrator.fairness.conduct import Conduct
from orchestrator.fairness.conducted import inside_the_grid, no_unseen_reads
from orchestrator.fairness.entry import Entry
from orchestrator.fairness.environment import one_environment
from orchestrator.fairness.rule import Rule
from orchestrator.fairness.search import one_choice_rule, same_grid, same_seeds
from orchestrator.fairness.searched import same_search
from orchestrator.fairness.setting import default_settings, one_precision, same_parts

UNCONDUCTED = Conduct()


@dataclass(frozen=True)
class Certificate:
    """What all rules found."""

    rules: tuple[Rule, ...]

    @property
    def ok(self) -> bool:
        """Whether every rule holds."""
        return all(rule.ok for rule in self.rules)

    def rule(self, name: str) -> Rule:
        """Return one rule's verdict by its id."""
        return next(rule for rule in self.rules if rule.id == name)

    def marks(self) -> dict[str, list[str]]:
        """Return what rows must carry on the board: label, or `row on model` -> marks."""
        found: dict[str, list[str]] = {}
        for rule in self.rules:
            for label, mark in rule.evidence.get("marks", {}).items():
                found.setdefault(label, []).append(f"{rule.id} {mark}")
        return found

    def to_json(self) -> dict[str, Any]:
        """Return the certificate as INTERFACES describes it."""
        return {"ok": self.ok, "rules": [rule.to_json() for rule in self.rules]}


def certify(entries: Sequence[Entry], conduct: Conduct = UNCONDUCTED) -> Certificate:
    """Apply every rule, in the order of their ids, to the trials of a sweep: as planned, or as found in MLflow."""
    rules: tuple[Callable[[Sequence[Entry]], Rule], ...] = (
        same_grid if conduct.study is None else partial(same_search, plan=conduct.study),
        capacity_ladders,
        same_data,
        partial(same_budget, conduct=conduct),
        same_seeds,
        test_read_once,
        same_parts,
        one_precision,
        partial(inside_the_grid, conduct=conduct),
        one_environment,
        one_choice_rule,
        partial(default_settings, conduct=conduct),
        partial(no_unseen_reads, conduct=conduct),
    )
    return Certificate(tuple(rule(entries) for rule in rules))
