"""Tasks in the form that a model takes, and optimisers as variants: which cells run, with which head, and what is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.cells import Cell
from orchestrator.plan import Plan
from search_spaces.errors import SpecError

PlanOf = Callable[..., Plan]
READER = ("models=[reader]", "tasks=[grades, kinds]")
STEADY = "methods={thin: {rank: [2]}, thin-steady: {method: thin, optimizer: steady, rank: [2]}}"


def test_the_head_of_each_task_is_counted(plan_of: PlanOf) -> None:
    plan = plan_of(*READER)
    assert {(cell.task, counts.head) for cell, counts in plan.counts.items()} == {("grades", 10), ("kinds", 30)}
    first = plan.to_json()["methods"]["thin"]["capacities"][0]
    assert first["trainable"] == 2 * 64 * 2 + 10
    assert first["models"]["reader"]["heads"] == {"grades": 10, "kinds": 30}
    assert plan.certificate.ok, plan.certificate.to_json()


def test_a_task_that_a_model_cannot_do_is_refused_with_the_reason(plan_of: PlanOf) -> None:
    plan = plan_of("models=[tiny, reader]", "tasks=[grades, kinds]", "methods={thin: {rank: [2]}}")
    assert set(plan.cells) == {
        Cell("tiny", "kinds", "thin", (("rank", 2),)),
        Cell("reader", "grades", "thin", (("rank", 2),)),
        Cell("reader", "kinds", "thin", (("rank", 2),)),
    }
    (refusal,) = plan.refused
    assert (refusal.label, refusal.model, refusal.task) == ("thin", "tiny", "grades")
    assert "grades has no form for causal language models" in refusal.reason
    assert [(t.model.id, t.task) for t in plan.base_trials] == [("tiny", "kinds"), ("reader", "grades"), ("reader", "kinds")]
    assert plan.certificate.ok


@pytest.mark.parametrize(
    ("overrides", "path", "words"),
    [
        (("models=[tiny]", "tasks=[grades]"), "tasks", "grades has no form for causal language models"),
        (("models=[reader]", "tasks=[reading]"), "tasks", "the answers of reading are texts"),
        (("models=[tiny, reader]", "tasks=[reading]"), "models", "'reader' can do none of the tasks: the answers of reading are texts"),
        (("training.optimizer=stedy",), "training.optimizer", "unknown optimizer 'stedy'. Did you mean 'steady'?"),
        (("methods.thin.optimizer=sgd",), "methods.thin.optimizer", "unknown optimizer 'sgd'. Valid: adamw, steady."),
        (("methods.thin.pace=2.0",), "methods.thin.pace", "thin has no key 'pace'"),
        (
            ("models=[tiny, reader]", "tasks=[kinds]", "grid.head_learning_rate=[0.1, 0.2]"),
            "grid.head_learning_rate",
            "tiny has no classification head, so that every point would be trained 2 times. Fix: remove the axis",
        ),
        ((*READER, STEADY, "methods.thin-steady.pace=fast"), "methods.thin-steady.pace", "'fast' is not valid"),
        ((*READER, STEADY, "methods.thin-steady.gait=fly"), "methods.thin-steady.gait", "Valid: 'walk', 'run'."),
        ((*READER, STEADY, "methods.thin-steady.gate=run"), "methods.thin-steady.gate", "Did you mean 'gait'?"),
    ],
)
def test_what_cannot_be_is_a_fault(plan_of: PlanOf, overrides: tuple[str, ...], path: str, words: str) -> None:
    with pytest.raises(SpecError) as caught:
        plan_of(*overrides)
    assert words in {fault.path: f"{fault.message} {fault.fix}" for fault in caught.value.faults}[path]


def test_an_optimiser_is_a_labelled_variant(plan_of: PlanOf) -> None:
    plan = plan_of(*READER, STEADY, "methods.thin-steady.pace=2.0", "methods.thin-steady.gait=walk", "grid.weight_decay=[0.0, 0.1]")
    assert plan.certificate.ok, plan.certificate.to_json()
    trainings = {trial.label: trial.training for trial in plan.trials}
    assert (trainings["thin"].optimizer, trainings["thin"].optimizer_settings) == ("adamw", {})
    assert (trainings["thin-steady"].optimizer, trainings["thin-steady"].optimizer_settings) == ("steady", {"pace": 2.0})
    assert {trial.label: trial.method.settings for trial in plan.trials} == {"thin": {}, "thin-steady": {}}
    unread = plan.certificate.rule("F1").evidence["unread"]
    assert unread["thin-steady"] == ["learning_rate", "weight_decay"]
    assert plan.certificate.rule("F12").evidence["variants"] == {"thin-steady": {"optimizer": "steady", "pace": 2.0}}
    implementation = plan.document()["implementations"]["thin-steady"]
    assert (implementation["optimizer"], implementation["optimizer_settings"]) == ("steady", {"pace": 2.0})
    assert "learning_rate" not in implementation["reads"]


def test_the_code_of_another_optimiser_is_part_of_the_version(plan_of: PlanOf) -> None:
    versions = {trial.label: trial.method.version for trial in plan_of(*READER, STEADY).trials}
    assert versions == {"thin": "v1", "thin-steady": "v1+o1"}


def test_settings_of_an_optimiser_make_another_variant_and_none_make_a_double(plan_of: PlanOf) -> None:
    more = "methods.thin-run={method: thin, optimizer: steady, gait: run, rank: [2]}"
    plan = plan_of(*READER, STEADY, more)
    assert len({trial.id for trial in plan.trials}) == len(plan.trials)
    with pytest.raises(SpecError, match="thin-walk .*is the same as 'thin-steady'"):
        plan_of(*READER, STEADY, "methods.thin-walk={method: thin, optimizer: steady, gait: walk, rank: [2]}")


def test_an_optimiser_is_refused_on_forms_that_it_does_not_cover(plan_of: PlanOf) -> None:
    plan = plan_of("models=[tiny, reader]", "tasks=[kinds]", STEADY)
    assert {(cell.model, cell.label) for cell in plan.cells} == {("tiny", "thin"), ("reader", "thin"), ("reader", "thin-steady")}
    (refusal,) = plan.refused
    assert (refusal.label, refusal.model, refusal.task) == ("thin-steady", "tiny", "kinds")
    assert refusal.reason == "the optimiser steady learns from labels alone"
    assert plan.certificate.ok
