"""The certificate as derived from the runs alone: it holds for a fair sweep, and names what is not fair."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orchestrator.audit import Audit, audit
from orchestrator.leaderboard.board import verdict
from orchestrator.recorded import RecordedSweep
from search_spaces.errors import TrackingError


def failing(certificate: Audit) -> dict[str, list[str]]:
    return {rule.id: rule.evidence["deviations"] for rule in certificate.rules if not rule.ok}


def test_a_fair_sweep_holds(sweep: Any) -> None:
    certificate = audit(sweep.recorded())
    assert failing(certificate) == {}
    assert verdict(certificate) == "Certificate: holds (13 of 13 rules)"
    document = certificate.to_json()
    assert (document["ok"], document["missing"]) == (True, [])
    assert [rule["id"] for rule in document["rules"]] == [f"F{number}" for number in range(1, 14)]


@pytest.mark.parametrize(
    ("rule", "changes"),
    [
        ("F3", {"data_digests": {"train": "other", "selection": "s", "order": "o100"}}),
        ("F4", {"usage": {"steps": 2, "examples": 9, "text_tokens": 40, "evaluations": 1}}),
        ("F6", {"usage": {"steps": 2, "examples": 4, "text_tokens": 40, "evaluations": 1, "test_reads": 1}}),
        ("F8", {"environment": {"execution": {"dtype": "bfloat16", "deepspeed": {"zero_stage": 0}}}}),
        ("F8", {"environment": {}}),
    ],
)
def test_what_was_observed_decides(sweep: Any, rule: str, changes: dict[str, Any]) -> None:
    sweep.change(sweep.find("select", "plain", learning_rate=0.01), **changes)
    found = failing(audit(sweep.recorded()))
    assert rule in found
    assert any("plain" in text for text in found[rule])
    assert verdict(audit(sweep.recorded())).startswith("Certificate: FAILS ")


def test_another_choice_than_the_scores_give_is_found(sweep: Any) -> None:
    sweep.change(sweep.find("select", "plain", learning_rate=0.001), metrics={"selection/f1": 0.9, "selection/loss": 1.0})
    assert "reports {'learning_rate': 0.01, 'scale': 1.0}" in " ".join(failing(audit(sweep.recorded()))["F11"])


def test_a_grid_point_that_only_one_method_had_is_found(sweep: Any, recorded_run: Any, outcome_with: Any) -> None:
    (trial,) = sweep.find("select", "plain", learning_rate=0.01)
    training = trial.training.model_copy(update={"learning_rate": 0.03})
    extra = trial.model_copy(update={"training": training, "point": {"learning_rate": 0.03}})
    own = recorded_run(extra, outcome_with(extra, 0.9), digest=sweep.plan.digest)
    assert any("plain" in text for text in failing(audit(sweep.recorded(own)))["F1"])
    foreign = recorded_run(extra, outcome_with(extra, 0.9), digest="another")
    assert failing(audit(sweep.recorded(foreign))) == {}


@pytest.mark.parametrize(
    ("param", "rule"), [("learning_rate", "F1"), ("data/train", "F3"), ("batch_size", "F4"), ("seed", "F5"), ("dtype", "F8")]
)
def test_a_run_that_contradicts_its_trial_is_found(sweep: Any, recorded_run: Any, param: str, rule: str) -> None:
    (trial,) = sweep.find("select", "plain", learning_rate=0.01)
    run = recorded_run(trial, sweep.outcomes.pop(trial.id))
    run.params[param] = "7"
    found = failing(audit(sweep.recorded(run)))
    assert list(found) == [rule]
    assert f"{param}: 7, not" in found[rule][0]


def test_half_written_runs_are_missing(sweep: Any, recorded_run: Any) -> None:
    (trial,) = sweep.find("report", "plain", seed=1)
    run = recorded_run(trial, sweep.outcomes.pop(trial.id))
    del run.tags["fairsweep.delivered"]
    assert [text for text in audit(sweep.recorded(run)).missing if "plain" in text]


def test_an_unmatched_method_is_marked(sweep_of: Any, sweep_text: str) -> None:
    certificate = audit(sweep_of(sweep_text.replace("plain: {}", "normed: {}")).recorded())
    assert certificate.ok
    assert "normed" in certificate.marks()


def test_a_foreign_plan_is_refused_with_the_fix() -> None:
    with pytest.raises(TrackingError, match="run the sweep again"):
        RecordedSweep({"sweep": "small", "digest": "d"}, [])


def test_the_audit_marks_positions_as_the_plan_does(sweep_of: Any, sweep_text: str) -> None:
    sweep = sweep_of(sweep_text.replace("plain: {}", "fixed: {}"))
    expected = {"fixed": ["F7 attaches to o, as its definition fixes, where the sweep targets q, v"]}
    assert sweep.plan.certificate.marks() == audit(sweep.recorded()).marks() == expected


def test_a_plan_that_does_not_record_roles_is_still_audited(sweep_of: Any, sweep_text: str) -> None:
    sweep = sweep_of(sweep_text.replace("plain: {}", "fixed: {}"))
    document = json.loads(json.dumps(sweep.plan.document()))
    for cell in document["cells"]:
        del cell["roles"]
    certificate = audit(RecordedSweep(document, sweep.records()))
    assert certificate.ok and certificate.marks() == {}
