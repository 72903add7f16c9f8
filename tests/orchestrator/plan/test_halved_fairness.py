"""The certificate of a halved sweep: the same rungs for every row, and after the run every trial where its scores put it (F4)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.fairness import Certificate, Conduct, Entry, certify
from orchestrator.plan import Plan, conduct_of
from trainers.results import Usage, rung_metric

PlanOf = Callable[..., Plan]
HALVED = (
    "halving={reduction: 2, min_steps: 2}",
    "training={steps: 8, batch_size: 2, checkpoint: {best: metric, evaluations: 4}}",
    "grid={learning_rate: [1e-4, 1e-3, 1e-2, 1e-1]}",
    "search={accept_edge: true}",
)
ENDS = {1e-4: 2, 1e-3: 8, 1e-2: 4, 1e-1: 2}
"""Where the points end whose scores at every rung fall in the order 1e-3, 1e-2, 1e-1, 1e-4."""
SCORES = {1e-4: 0.1, 1e-3: 0.9, 1e-2: 0.7, 1e-1: 0.3}


@pytest.fixture
def plan(plan_of: PlanOf) -> Plan:
    return plan_of(*HALVED)


@pytest.fixture
def run(plan: Plan) -> list[Entry]:
    return [observed(entry) for entry in plan.entries(plan.trials)]


def observed(entry: Entry, end: int | None = None) -> Entry:
    rate = entry.trial.training.learning_rate
    end = ENDS[rate] if end is None else end
    metrics = {"selection/f1": SCORES[rate], "selection/loss": 1 - SCORES[rate]}
    for step in (2, 4):
        if step <= end:
            metrics |= {rung_metric(step, name): metrics[f"selection/{name}"] for name in ("f1", "loss")}
    return replace(
        entry,
        status="finished" if end == 8 else "pruned",
        usage=Usage(steps=end, examples=2 * end, text_tokens=70 * end, evaluations=end // 2),
        data_digests={"train": "t", "selection": "s", "order": f"o{entry.trial.seed}"},
        numerics={"dtype": "float32"},
        metrics=metrics,
    )


def found(run: list[Entry], plan: Plan, **changes: Any) -> tuple[Certificate, str]:
    certificate = certify(run, replace(conduct_of(plan.spec), **changes))
    return certificate, "\n".join(certificate.rule("F4").evidence["deviations"])


def tampered(run: list[Entry], rate: float, change: Callable[[Entry], Entry]) -> list[Entry]:
    label = run[0].trial.label
    return [change(e) if e.trial.label == label and e.trial.training.learning_rate == rate else e for e in run]


def test_the_plan_shows_the_rungs_and_what_they_save(plan: Plan) -> None:
    facts = plan.certificate.rule("F4").evidence["halving"]
    scope = facts["scopes"]["reading with tiny"]
    assert len({str(found) for found in facts["scopes"].values()}) == 1 and scope["seeds"] == 2
    assert scope["rungs"] == [{"step": 2, "points": 4, "survivors": 2}, {"step": 4, "points": 2, "survivors": 1}]
    assert (scope["steps"], scope["full_steps"]) == (2 * 2 + 4 + 8, 32)
    assert plan.to_json()["halving"]["tasks"] and plan.document()["spec"]["halving"] == {"reduction": 2, "min_steps": 2}
    assert {trial.bracket for trial in plan.trials} == {plan.factory.bracket} != {""}
    assert not any(trial.bracket for trial in plan.factory.report(plan.cells[0], plan.factory.points[0]))


def test_without_halving_ids_and_digests_are_as_they_were(plan_of: PlanOf) -> None:
    whole, halved = plan_of(*HALVED, "halving=null"), plan_of(*HALVED)
    assert not any(trial.bracket or "bracket" in trial.meaning() for trial in whole.trials)
    assert whole.digest != halved.digest and {t.id for t in whole.trials}.isdisjoint(t.id for t in halved.trials)
    assert [t.id for t in whole.base_trials] == [t.id for t in halved.base_trials]


def test_a_halved_run_is_fair_and_every_row_spent_the_same(plan: Plan, run: list[Entry]) -> None:
    certificate, said = found(run, plan)
    assert not said and certificate.rule("F11").ok
    observed_rows = certificate.rule("F4").evidence["halving"]["observed"]
    assert len(observed_rows) > 1 and len({str(row) for row in observed_rows.values()}) == 1
    assert next(iter(observed_rows.values())) == {"ended": {"2": 4, "4": 2}, "finished": 2, "failed": 0, "steps": 32}


@pytest.mark.parametrize(
    ("rate", "change", "words"),
    [
        (1e-1, lambda e: observed(e, 8), "trained for 8 steps, where its scores at the rungs end it at step 2"),
        (1e-1, lambda e: observed(e, 4), "was stopped at step 4, where its scores at the rungs end it at step 2"),
        (1e-3, lambda e: observed(e, 4), "was stopped at step 4, where its scores at the rungs let it go on to step 8"),
        (1e-4, lambda e: replace(e, metrics={**(e.metrics or {}), rung_metric(2, "f1"): 0.95}), "stopped at step 2, where"),
        (1e-3, lambda e: replace(e, usage=Usage(steps=16)), "trained for 16 steps"),
        (1e-4, lambda e: replace(e, metrics={}), "are not all known at step 2"),
        (1e-4, lambda e: replace(e, status="finished"), "trained for 2 steps"),
    ],
)
def test_a_trial_that_ended_elsewhere_is_named(
    plan: Plan, run: list[Entry], rate: float, change: Callable[[Entry], Entry], words: str
) -> None:
    certificate, said = found(tampered(run, rate, change), plan)
    assert not certificate.rule("F4").ok and words in said, said


def test_a_failed_trial_leaves_its_rung_and_breaks_no_rule(plan: Plan, run: list[Entry]) -> None:
    failed = tampered(run, 1e-1, lambda e: replace(observed(e, 2), status="diverged", metrics={}, usage=Usage(steps=1)))
    assert not found(failed, plan)[1]


def test_test_metrics_of_a_pruned_run_are_a_look_at_the_test_split(plan: Plan, run: list[Entry]) -> None:
    looked = tampered(run, 1e-4, lambda e: replace(e, metrics={**(e.metrics or {}), "test/f1": 0.5}))
    assert not found(looked, plan)[0].rule("F6").ok


def test_pruned_runs_in_a_sweep_that_is_not_halved_are_told(plan: Plan, run: list[Entry]) -> None:
    assert "nothing in this sweep stops trials" in found(run, plan, halving=None)[1]
    assert Conduct().halving is None
