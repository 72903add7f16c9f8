"""Sweeps by parameter budget: capacities solved for every model, refused and shared cells, marks, faults, digests."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.cells import Cell
from orchestrator.plan import Plan
from search_spaces.errors import CapacityError, SpecError
from trainers.results import Count, Counts

PlanOf = Callable[..., Plan]
THIN = "methods={thin: {}}"
ONE = ("models=[tiny]", "tasks=[reading]")
"""`thin` trains 128 parameters per rank on two matrices, and takes ranks up to 64."""


def budgets(*counts: int, **keys: Any) -> str:
    return f"budgets={json.dumps({'counts': list(counts), **keys})}"


def capacities(plan: Plan, label: str, model: str = "tiny") -> list[Mapping[str, Any]]:
    return [cell.config for cell in plan.cells if (cell.label, cell.model, cell.task) == (label, model, "reading")]


def faults_of(plan_of: PlanOf, *overrides: str) -> dict[str, str]:
    with pytest.raises(SpecError) as caught:
        plan_of(*overrides)
    return {fault.path: f"{fault.message} {fault.fix}" for fault in caught.value.faults}


def test_each_model_has_its_own_capacities(plan_of: PlanOf) -> None:
    plan = plan_of(THIN, budgets(640, 1300), "targets={tiny: [q], wide: [q, v]}")
    assert capacities(plan, "thin", "tiny") == [{"rank": 10}, {"rank": 20}]
    assert capacities(plan, "thin", "wide") == [{"rank": 5}, {"rank": 10}]
    assert {(t.model.id, t.method.capacity["rank"]) for t in plan.trials} == {("tiny", 10), ("tiny", 20), ("wide", 5), ("wide", 10)}
    assert len(plan.trials) == 4 * 2 * 4 * 2
    assert plan.certificate.ok
    evidence = plan.certificate.rule("F2").evidence
    assert evidence["lengths"] == {"thin": 2} and evidence["equal_lengths"]


def test_below_and_nearest(plan_of: PlanOf) -> None:
    assert capacities(plan_of(THIN, budgets(1000), *ONE), "thin") == [{"rank": 7}]
    assert capacities(plan_of(THIN, budgets(1000, match="nearest"), *ONE), "thin") == [{"rank": 8}]


def test_the_plan_says_what_the_budgets_came_to(plan_of: PlanOf) -> None:
    document = json.loads(json.dumps(plan_of(THIN, budgets(1280, 1000), *ONE).to_json(), allow_nan=False))
    assert document["budgets"] == {"counts": [1000, 1280], "match": "below", "tolerance": 0.05}
    first, second = document["methods"]["thin"]["capacities"]
    assert (first["config"], first["budget"], first["within_tolerance"]) == ({"rank": 7}, 1000, False)
    assert first["off"] == pytest.approx(-0.104) and first["trainable"] == 7 * 128 + 3
    (fit,) = first["models"]["tiny"]["budgets"]
    assert fit["step"] == 128 and fit["words"] == "rank=7 trains 896, 10.4% below 1,000; the next size, rank=8 trains 1,024: 128 more"
    assert (second["config"], second["budget"], second["off"], second["within_tolerance"]) == ({"rank": 10}, 1280, 0.0, True)
    assert document["notes"] == [] and document["refused"] == []


def test_a_sweep_without_budgets_has_none_in_its_plan(plan_of: PlanOf) -> None:
    document = plan_of().to_json()
    assert document["budgets"] is None and document["notes"] == []
    assert {rung[key] for rung in document["methods"]["thin"]["capacities"] for key in ("budget", "off", "within_tolerance")} == {None}
    assert plan_of().certificate.rule("F2").evidence["budgets"] == {}


def test_two_budgets_that_come_to_one_capacity_are_one_cell(plan_of: PlanOf) -> None:
    plan = plan_of(THIN, budgets(1000, 1010), *ONE)
    assert capacities(plan, "thin") == [{"rank": 7}]
    assert plan.budgets(Cell("tiny", "reading", "thin", (("rank", 7),))) == (1000, 1010)
    assert plan.to_json()["notes"] == ["thin (rank=7) on tiny: the budgets 1,000 and 1,010 come to this one cell"]
    (rung,) = plan.to_json()["methods"]["thin"]["capacities"]
    assert (rung["budget"], [fit["budget"] for fit in rung["models"]["tiny"]["budgets"]]) == (1010, [1000, 1010])


def test_a_budget_out_of_reach_is_a_refused_cell(plan_of: PlanOf) -> None:
    plan = plan_of(THIN, budgets(100, 1280, 10_000), "models=[tiny]")
    assert capacities(plan, "thin") == [{"rank": 10}]
    assert [(refusal.capacity, refusal.task) for refusal in plan.refused] == [
        ({"budget": budget}, task) for budget in (100, 10_000) for task in ("reading", "counting")
    ]
    reasons = list(dict.fromkeys(refusal.reason for refusal in plan.refused))
    assert reasons == [
        "the budget of 100 is below the smallest size; rank=1 trains 128, 28.0% above 100",
        "the budget of 10,000 is above the largest size; rank=64 trains 8,192, 18.1% below 10,000",
    ]


def test_the_end_of_a_ladder_serves_budgets_within_the_tolerance(plan_of: PlanOf) -> None:
    assert capacities(plan_of(THIN, budgets(8400), *ONE), "thin") == [{"rank": 64}]
    both = "methods={thin: {}, plain: {}}"
    assert capacities(plan_of(both, budgets(8400, tolerance=0.01), *ONE), "thin") == []


def test_a_method_of_fixed_size_is_one_cell_beside_the_nearest_budget(plan_of: PlanOf) -> None:
    plan = plan_of("methods={thin: {}, plain: {}}", budgets(256, 1280), *ONE)
    assert capacities(plan, "plain") == [{}]
    (rung,) = plan.to_json()["methods"]["plain"]["capacities"]
    assert (rung["budget"], rung["off"], rung["within_tolerance"]) == (256, -0.5, False)
    assert plan.certificate.marks() == {"plain on tiny": ["F2 off its budget: 128 is 50.0% below 256"]}


def test_a_row_off_its_budget_is_marked_and_kept(plan_of: PlanOf) -> None:
    plan = plan_of(THIN, budgets(1000, 1280), *ONE)
    assert plan.certificate.ok
    assert plan.certificate.marks() == {"thin (rank=7) on tiny": ["F2 off its budget: 896 is 10.4% below 1,000"]}
    evidence = plan.certificate.rule("F2").evidence["budgets"]
    assert evidence["thin (rank=10) on tiny"] == [{"budget": 1280, "trainable": 1280, "off": 0.0, "within_tolerance": True}]
    assert plan_of(THIN, budgets(1000, 1280, tolerance=0.2), *ONE).certificate.marks() == {}


def test_further_capacity_keys_are_given_or_have_a_default(plan_of: PlanOf, catalog: Any) -> None:
    plan = plan_of("methods={double: {blocks: [1, 3]}}", budgets(1280), *ONE)
    assert capacities(plan, "double") == [{"blocks": 1, "rank": 10}, {"blocks": 3, "rank": 3}]
    assert "methods.double.blocks" in faults_of(plan_of, "methods={double: {}}", budgets(1280))
    catalog.cards["double"] = replace(catalog.cards["double"], capacity_defaults={"blocks": 2})
    assert capacities(plan_of("methods={double: {}}", budgets(1280), *ONE), "double") == [{"blocks": 2, "rank": 5}]
    assert capacities(plan_of("methods={double: {rank: 4}}", *ONE), "double") == [{"blocks": 2, "rank": 4}]
    refused = plan_of("methods={double: {blocks: 3}, plain: {}}", budgets(100), *ONE).refused
    assert [refusal.capacity for refusal in refused] == [{"blocks": 3, "budget": 100}]


def test_what_a_definition_does_not_cover_is_refused_as_ever(plan_of: PlanOf) -> None:
    plan = plan_of("methods={narrow: {}, thin: {}}", budgets(1280))
    assert {(r.label, r.model, r.reason) for r in plan.refused} == {("narrow", "wide", "narrow is defined for narrow models only")}
    assert {cell.model for cell in plan.cells if cell.label == "narrow"} == {"tiny"}


@pytest.mark.parametrize(
    ("overrides", "path", "words"),
    [
        (["methods={thin: {rank: 4}}"], "methods.thin.rank", "`budgets` solves rank of thin on every model, so 4 cannot be given too"),
        (["methods={x: {method: thin, rank: [2, 4]}}"], "methods.x.rank", "[2, 4] cannot be given too. Fix: remove one of them"),
        (["methods={double: {rank: 4, blocks: 2}}"], "methods.double.rank", "`budgets` solves rank of double"),
        (["methods={double: {}}"], "methods.double.blocks", "is missing; the capacity of double is given by rank and blocks"),
        (["methods={thin: {}, again: {method: thin}}"], "methods.again", "again is the same as 'thin' there; keep one"),
        ([THIN, "targets=[gate]"], "targets", "unknown role 'gate'"),
    ],
)
def test_faults_are_listed_under_their_keys(plan_of: PlanOf, overrides: list[str], path: str, words: str) -> None:
    found = faults_of(plan_of, budgets(1280), *overrides)
    assert list(found) == [path] and words in found[path]


def test_every_label_is_named_in_one_message(plan_of: PlanOf) -> None:
    found = faults_of(plan_of, "methods={thin: {rank: 4}, double: {rank: 4}, plain: {rank: 4}}", "budgets={counts: [0], match: above}")
    assert set(found) == {"budgets.counts.0", "budgets.match", "methods.double.blocks", "methods.plain.rank"}


@pytest.mark.parametrize("change", [{"counts": [1280]}, {"counts": [1000, 1281]}, {"tolerance": 0.2}, {"match": "nearest"}])
def test_the_digest_holds_the_budgets(plan_of: PlanOf, change: Mapping[str, Any]) -> None:
    content = {"counts": [1000, 1280]}
    plan = plan_of(THIN, f"budgets={json.dumps(content)}")
    assert plan_of(THIN, f"budgets={json.dumps({**content, **change})}").digest != plan.digest
    assert plan_of(THIN, budgets(1280, 1000)).digest == plan.digest
    by_hand = plan_of("methods={thin: {rank: [7, 10]}}")
    assert {trial.id for trial in by_hand.trials} == {trial.id for trial in plan.trials} and by_hand.digest != plan.digest


def test_each_size_is_counted_once(plan_of: PlanOf, catalog: Any) -> None:
    plan_of(THIN, budgets(700, 1280, 2000, 5000), "models=[tiny]")
    ranks = [capacity for _, _, capacity, _ in catalog.counted]
    assert len(ranks) == len(set(ranks)) < 30


def square(catalog: Any, **declared: Any) -> None:
    """Register `square`, whose ranks, divisors of 24, all train 100 parameters."""
    catalog.cards["square"] = replace(catalog.cards["thin"], name="square", **declared)
    catalog.versions["square"] = "v1"
    usual = catalog.count

    def count(model: Any, method: str, capacity: Mapping[str, Any], *rest: Any) -> Count:
        if method != "square":
            return usual(model, method, capacity, *rest)
        if 24 % capacity["rank"]:
            raise CapacityError(f"rank {capacity['rank']} does not divide 24", "rank", (1, 2, 3, 4, 6, 8, 12, 24))
        return Count(Counts(peak=100, stored=100), roles=("q", "v"))

    catalog.count = count


def test_a_rank_that_changes_no_count_keeps_its_default_or_what_is_given(plan_of: PlanOf, catalog: Any) -> None:
    square(catalog, capacity_defaults={"rank": 6})
    plan = plan_of("methods={square: {}}", budgets(90, 1280), *ONE)
    assert capacities(plan, "square") == [{"rank": 6}]
    assert plan.certificate.marks() == {"square (rank=6) on tiny": ["F2 off its budget: 100 is 11.1% above 90"]}
    assert capacities(plan_of("methods={square: {rank: [4, 12]}}", budgets(90), *ONE), "square") == [{"rank": 4}, {"rank": 12}]
    assert "does not divide" in faults_of(plan_of, "methods={square: {rank: 5}}", budgets(90), *ONE)["methods.square.rank"]


def test_a_default_that_a_model_does_not_take_gives_way_to_the_nearest_below(plan_of: PlanOf, catalog: Any) -> None:
    square(catalog, capacity_defaults={"rank": 10})
    assert capacities(plan_of("methods={square: {}}", budgets(90), *ONE), "square") == [{"rank": 8}]


def test_a_rank_that_changes_no_count_and_has_no_default_is_not_solved(plan_of: PlanOf, catalog: Any) -> None:
    square(catalog)
    (words,) = faults_of(plan_of, "methods={square: {}}", budgets(90), *ONE).values()
    assert "no budget can be solved for rank: rank=1 trains 100, and so does every other value" in words
