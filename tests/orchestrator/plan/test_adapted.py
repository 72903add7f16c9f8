"""F7: what rows adapt and train of the base beyond what the sweep names, in words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from orchestrator.fairness import certify
from orchestrator.plan import Plan

PlanOf = Callable[..., Plan]


def test_a_method_with_extras_is_marked_unless_a_control_has_them_too(plan_of: PlanOf) -> None:
    unmatched = {
        "normed": [
            "F7 unmatched: trains norms besides its adapter, and no control row does. Fix: also_train: [norms] beside a LoRA row",
        ]
    }
    alone = plan_of("methods={normed: {}, pair: {}}").certificate
    assert alone.ok and alone.marks() == unmatched
    assert plan_of("methods={normed: {}, pair: {}}", "also_train=[norms]").certificate.marks() == {}
    assert plan_of("methods={normed: {}, plain: {}}", "also_train=[norms]").certificate.marks() == unmatched
    assert plan_of("methods={normed: {}}", "also_train=[norms]").certificate.marks() == unmatched


def test_positions_that_a_definition_fixes_are_marked(plan_of: PlanOf) -> None:
    certificate = plan_of("methods={stuck: {}, thin: {rank: [2, 4]}}").certificate
    assert certificate.ok
    assert certificate.marks() == {"stuck": ["F7 attaches to o, as its definition fixes, where the sweep targets q, v"]}
    assert certificate.rule("F7").evidence["adapted"] == {"tiny": {"stuck": ["o"]}, "wide": {"stuck": ["o"]}}
    mixed = plan_of("methods={stuck: {}, plain: {}}", "targets={tiny: [q], wide: [o]}").certificate
    assert mixed.marks() == {"stuck on tiny": ["F7 attaches to o, as its definition fixes, where the sweep targets q"]}
    assert plan_of("methods={stuck: {}, plain: {}}", "targets=[o]").certificate.marks() == {}


def test_another_head_and_its_schedule_are_marked(plan_of: PlanOf) -> None:
    certificate = plan_of("methods={hatless: {}, thin: {rank: [2, 4]}}", "models=[reader]", "tasks=[kinds]").certificate
    assert certificate.ok
    (mark,) = certificate.marks()["hatless"]
    assert mark.startswith("F7 trains the head on Sundays only; trains 28 parameters of the head where other rows train 30: ")
    assert set(certificate.marks()) == {"hatless"}
    heads = certificate.rule("F7").evidence["head_parameters"]
    assert heads == {"kinds with reader": {"hatless": 28, "thin (rank=2)": 30, "thin (rank=4)": 30}}


def test_without_a_record_of_the_roles_nothing_is_claimed_of_them(plan_of: PlanOf) -> None:
    plan = plan_of()
    certificate = certify([replace(entry, roles=None) for entry in plan.entries(plan.trials)])
    assert certificate.ok and certificate.rule("F7").evidence["adapted"] == {}
