"""Packing in the plan, its certificate and the rule on the environment: the same for all methods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.fairness import Entry, certify
from orchestrator.plan import Plan
from search_spaces.errors import SpecError

PlanOf = Callable[..., Plan]


@pytest.fixture
def catalog_with(catalog: Any) -> Any:
    """The catalog, all of whose methods can be packed but `plain`."""
    for name, card in catalog.cards.items():
        catalog.cards[name] = replace(card, packable=name != "plain")
    return catalog


def test_a_width_is_refused_where_a_method_cannot_be_packed(plan_of: PlanOf, catalog_with: Any) -> None:
    with pytest.raises(SpecError) as caught:
        plan_of("packing=4")
    (fault,) = caught.value.faults
    assert fault.path == "methods.plain" and "its method plain cannot be packed" in fault.message and "packing: auto" in fault.fix


def test_auto_packs_nothing_then_and_the_plan_says_so(plan_of: PlanOf, catalog_with: Any) -> None:
    plan = plan_of("packing=auto")
    assert plan.packing == "off"
    assert any(note.startswith("packing: auto packs nothing: plain: ") for note in plan.notes)
    catalog_with.cards["plain"] = replace(catalog_with.cards["plain"], packable=True)
    assert plan_of("packing=auto").packing == "auto"
    assert "workers" in " ".join(plan_of("packing=auto", "resources.workers=2").notes)


def test_packing_changes_neither_ids_nor_the_digest(plan_of: PlanOf, catalog_with: Any) -> None:
    catalog_with.cards["plain"] = replace(catalog_with.cards["plain"], packable=True)
    plain, packed = plan_of(), plan_of("packing=4")
    assert [trial.id for trial in plain.trials] == [trial.id for trial in packed.trials] and plain.digest == packed.digest
    assert plain.certificate.rule("F10").evidence["packed"] == {}
    assert {tuple(widths) for widths in packed.certificate.rule("F10").evidence["packed"].values()} == {(4,)}


def test_profiles_are_planned_outside_of_packs(plan_of: PlanOf, catalog_with: Any) -> None:
    catalog_with.cards["plain"] = replace(catalog_with.cards["plain"], packable=True)
    evidence = plan_of("packing=4", "resources.solo=true").certificate.rule("F10").evidence
    assert {place.rpartition(", ")[2]: widths for place, widths in evidence["packed"].items()} == {"select": [4], "report": [1]}
    assert not evidence["marks"]


def ran(plan: Plan, width: Callable[[Entry], int]) -> list[Entry]:
    environment = {"versions": {"torch": "2.13.0"}}
    entries = plan.entries([*plan.trials, *plan.base_trials])
    return [replace(entry, status="finished", environment=environment, packed=width(entry)) for entry in entries]


def test_one_trial_that_was_packed_otherwise_breaks_the_rule(plan_of: PlanOf) -> None:
    plan = plan_of()
    odd = plan.trials[3]
    assert certify(ran(plan, lambda entry: 4)).rule("F10").ok
    rule = certify(ran(plan, lambda entry: 1 if entry.trial.id == odd.id else 4)).rule("F10")
    assert not rule.ok
    assert [text for text in rule.evidence["deviations"] if odd.id in text and "packed 1 wide, where others" in text]


def test_batches_of_another_size_may_have_another_width(plan_of: PlanOf) -> None:
    plan = plan_of("grid={learning_rate: [1e-3], batch_size: [2, 4]}")
    assert certify(ran(plan, lambda entry: 8 // entry.trial.training.batch_size)).rule("F10").ok
