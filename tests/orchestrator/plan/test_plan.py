"""The plan: which trials, in which order, under which ids, and what it says of itself."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from itertools import groupby, product
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cells import Cell, cell_of
from orchestrator.plan import Plan, load_plan, make_plan
from search_spaces.errors import SpecError
from search_spaces.loading import load_spec
from search_spaces.trial import Trial
from trainers.results import Outcome

PlanOf = Callable[..., Plan]


def chosen(plan: Plan, point: int = 0) -> dict[Cell, Any]:
    return dict.fromkeys(plan.cells, plan.factory.points[point])


def test_select_is_the_whole_grid_of_every_cell_on_every_select_seed(plan_of: PlanOf) -> None:
    plan = plan_of()
    expected = product(
        ("tiny", "wide"),
        ("reading", "counting"),
        (("thin", 2), ("thin", 4), ("thin-flat", 2), ("plain", None)),
        ((1e-3, 0.0), (1e-3, 0.1), (1e-2, 0.0), (1e-2, 0.1)),
        (100, 101),
    )
    found = [
        (t.model.id, t.task, (t.label, t.method.capacity.get("rank")), (t.training.learning_rate, t.training.dropout), t.seed)
        for t in plan.trials
    ]
    assert found == list(expected)
    assert all(trial.phase == "select" for trial in plan.trials)
    assert len({trial.id for trial in plan.trials}) == len(plan.trials)


def test_trials_of_one_base_model_stand_together(plan_of: PlanOf) -> None:
    assert [model for model, _ in groupby(trial.model.id for trial in plan_of().trials)] == ["tiny", "wide"]


def test_trials_are_as_valid_as_if_they_had_been_validated(plan_of: PlanOf) -> None:
    plan = plan_of("also_train=[norms]", "grid.head_learning_rate=[null, 0.1]", "models=[reader]", "tasks=[kinds]")
    for trial in (*plan.trials[:40], *plan.report_trials(chosen(plan))[:3], *plan.base_trials):
        again = Trial.model_validate_json(trial.model_dump_json())
        assert again == trial
        assert again.id == trial.id


def test_a_grid_point_is_filled_in(plan_of: PlanOf) -> None:
    for trial in plan_of("grid.scale=[0.5, 1]", "grid.head_learning_rate=[null, 0.3]", "models=[reader]", "tasks=[kinds]").trials:
        for axis, value in trial.point.items():
            assert getattr(trial.training, axis) == value
        assert set(trial.point) == {"learning_rate", "dropout", "scale", "head_learning_rate"}


def test_a_variant_has_its_own_settings_and_defaults_are_left_out(plan_of: PlanOf) -> None:
    plan = plan_of("methods.thin.shape=round")
    settings = {trial.label: trial.method.settings for trial in plan.trials}
    assert settings == {"thin": {}, "thin-flat": {"shape": "flat"}, "plain": {}}
    assert {trial.method.name for trial in plan.trials if trial.label == "thin-flat"} == {"thin"}


def test_several_capacity_keys_span_their_product(plan_of: PlanOf) -> None:
    plan = plan_of("methods={double: {rank: [1, 2], blocks: 4}}", "models=[tiny]", "tasks=[reading]")
    assert [cell.config for cell in plan.cells] == [{"rank": 1, "blocks": 4}, {"rank": 2, "blocks": 4}]


def test_the_untuned_model_has_one_report_trial_per_model_and_task(plan_of: PlanOf) -> None:
    plan = plan_of()
    assert [(t.model.id, t.task) for t in plan.base_trials] == list(product(("tiny", "wide"), ("reading", "counting")))
    for trial in plan.base_trials:
        assert (trial.label, trial.method.name, trial.method.version, trial.method.capacity) == ("base", "base", "1", {})
        assert (trial.phase, trial.seed, trial.point) == ("report", 0, {})
        assert (trial.training.learning_rate, trial.training.steps, trial.training.epochs) == (0.0, 0, None)


def test_report_is_the_selected_point_on_every_report_seed(plan_of: PlanOf) -> None:
    plan = plan_of()
    selected = {cell: plan.factory.points[number % 4] for number, cell in enumerate(plan.cells)}
    trials = plan.report_trials(selected)
    assert [(cell_of(t), t.seed) for t in trials] == [(cell, seed) for cell in plan.cells for seed in (0, 1, 2)]
    assert all(trial.point == selected[cell_of(trial)] and trial.phase == "report" for trial in trials)
    some = dict(list(selected.items())[1:3])
    assert {cell_of(trial) for trial in plan.report_trials(some)} == set(some)


def test_what_is_not_planned_cannot_be_reported(plan_of: PlanOf) -> None:
    plan = plan_of()
    with pytest.raises(ValueError, match="not a point of the grid"):
        plan.report_trials({plan.cells[0]: {"learning_rate": 5.0, "dropout": 0.0, "scale": 1.0}})
    with pytest.raises(ValueError, match="other on reading with tiny"):
        plan.report_trials({Cell("tiny", "reading", "other"): plan.factory.points[0]})


def test_the_counts_announce_what_will_run(plan_of: PlanOf) -> None:
    plan = plan_of()
    content = plan.to_json()
    assert content["phases"] == {
        "select": len(plan.trials),
        "report": len(plan.report_trials(chosen(plan))) + len(plan.base_trials),
    }
    assert content["trials"] == sum(content["phases"].values())
    assert sum(content["trials_by_method"].values()) + content["base"]["trials"] == content["trials"]


def test_plan_json_has_the_promised_shape(plan_of: PlanOf) -> None:
    content = json.loads(json.dumps(plan_of().to_json(), allow_nan=False))
    assert {"sweep", "digest", "trials", "phases", "methods", "certificate"} <= set(content)
    assert content["sweep"] == "small"
    assert content["methods"]["thin"]["points"] == 4
    capacities = content["methods"]["thin"]["capacities"]
    assert [(c["config"], c["trainable"]) for c in capacities] == [({"rank": 2}, 259), ({"rank": 4}, 515)]
    assert content["methods"]["plain"]["capacities"][0]["config"] == {}
    assert content["certificate"]["ok"] is True
    assert [rule["id"] for rule in content["certificate"]["rules"]] == [f"F{number}" for number in range(1, 14)]
    assert all(set(rule) == {"id", "title", "ok", "evidence"} for rule in content["certificate"]["rules"])


def test_the_document_tells_an_audit_everything(plan_of: PlanOf) -> None:
    plan = plan_of()
    document = json.loads(json.dumps(plan.document(), allow_nan=False))
    assert [row["id"] for row in document["select"]] == [trial.id for trial in plan.trials]
    assert document["select"][0].keys() == {"id", "label", "model", "task", "capacity", "point", "seed"}
    assert len(document["cells"]) == len(plan.cells)
    assert document["cells"][0]["counts"] == {"peak": 256, "stored": 128, "head": 3, "trainable": 259}
    assert [row["id"] for row in document["base_trials"]] == [trial.id for trial in plan.base_trials]
    assert document["seeds"] == {"select": [100, 101], "report": [0, 1, 2], "vary": ["init", "order", "dropout"]}
    assert document["main_metrics"] == {"reading": "f1", "counting": "f1"}
    assert document["implementations"]["thin-flat"]["settings"] == {"shape": "flat"}
    assert document["implementations"]["plain"]["reads"] == ["learning_rate", "scale"]
    assert document["data"]["reading"] == {"train": 8, "selection": 4, "test": 4, "seed": 0, "digest": "d1"}


def test_the_same_file_gives_the_same_plan(sweep_file: Path, catalog: Any) -> None:
    first, second = load_plan(sweep_file, catalog), make_plan(load_spec(sweep_file), catalog)
    assert first.document() == second.document()
    assert first.digest == "0c8e216f2972d4779b3a0cb00fa452393eff115a2a4a5584dc4f8b05b7bdd5e4"
    assert first.trials[0].id == "1692dec441a929d8"


@pytest.mark.parametrize(
    "override",
    [
        "resources={cpus: 2, memory: 1GiB}",
        "deepspeed.wall_clock_breakdown=true",
        "data.source=elsewhere",
        "training.micro_batch=1",
        "name=other",
    ],
)
def test_what_changes_no_number_changes_no_digest(plan_of: PlanOf, override: str) -> None:
    assert plan_of(override).digest == plan_of().digest


@pytest.mark.parametrize(
    "override",
    [
        "grid.learning_rate=[1e-3]",
        "training.weight_decay=0.1",
        "data.test=3",
        "methods.thin.rank=[2]",
        "methods.thin.depth=2",
        "seeds.report=[0, 1]",
        "seeds.select=[100]",
        "seeds.vary=[init]",
        "targets=[q]",
        "also_train=[norms]",
        "tasks=[reading]",
        "models=[tiny]",
        "models=[tiny, {id: wide, dtype: bfloat16}]",
    ],
)
def test_what_changes_a_number_changes_the_digest(plan_of: PlanOf, override: str) -> None:
    assert plan_of(override).digest != plan_of().digest


def test_new_code_of_a_method_makes_its_trials_new_and_leaves_the_others(plan_of: PlanOf, catalog: Any) -> None:
    before = plan_of()
    catalog.versions["plain"] = "v2"
    after = plan_of()
    assert before.digest != after.digest
    kept = {trial.id for trial in before.trials} & {trial.id for trial in after.trials}
    assert kept == {trial.id for trial in before.trials if trial.label != "plain"}


def test_a_label_is_a_name_only(plan_of: PlanOf) -> None:
    one = plan_of("methods={plain: {}}")
    other = plan_of("methods={renamed: {method: plain}}")
    assert [trial.id for trial in one.trials] == [trial.id for trial in other.trials]
    assert {trial.label for trial in other.trials} == {"renamed"}


def test_a_refused_cell_is_listed_with_its_reason_and_stops_nothing(plan_of: PlanOf) -> None:
    plan = plan_of("methods={narrow: {}, plain: {}}")
    assert [(r.label, r.model, r.task) for r in plan.refused] == [("narrow", "wide", "reading"), ("narrow", "wide", "counting")]
    assert plan.refused[0].reason == "narrow is defined for narrow models only"
    assert {trial.model.id for trial in plan.trials if trial.label == "narrow"} == {"tiny"}
    assert plan.to_json()["refused"][0]["reason"] == plan.refused[0].reason
    assert plan.certificate.ok
    assert len(plan.base_trials) == 4


def test_virtual_tokens_that_leave_no_room_for_the_texts_are_a_refused_cell(plan_of: PlanOf, catalog: Any) -> None:
    catalog.text_positions["plain"] = 500
    plan = plan_of("models=[tiny]", "training.max_length=501", "tasks={reading: {}, counting: {training: {max_length: 500}}}")
    (refusal,) = plan.refused
    assert (refusal.label, refusal.task) == ("plain", "reading")
    assert "leave 500 of the model's positions for texts of max_length 501" in refusal.reason
    assert {trial.task for trial in plan.trials if trial.label == "plain"} == {"counting"}


@pytest.mark.parametrize(
    ("group", "refused"),
    [
        (("resources.workers=2",), {}),
        (("resources.workers=2", "deepspeed.zero_stage=2"), {}),
        (
            ("deepspeed.zero_stage=3",),
            {"plain": "plain reads the base's matrices", "normed": "normed trains copies"},
        ),
    ],
)
def test_what_workers_cannot_divide_up_is_refused(plan_of: PlanOf, catalog: Any, group: tuple[str, ...], refused: dict[str, str]) -> None:
    catalog.optimizers["adamw"] = replace(catalog.optimizers["adamw"], elementwise=True)
    catalog.cards["plain"] = replace(catalog.cards["plain"], base_weights="read_in_training")
    catalog.cards["normed"] = replace(catalog.cards["normed"], base_weights="copied")
    plan = plan_of("models=[tiny]", "tasks=[reading]", "methods={plain: {}, normed: {}, pair: {}}", *group)
    assert {refusal.label for refusal in plan.refused} == set(refused)
    assert all(words in next(r.reason for r in plan.refused if r.label == label) for label, words in refused.items())


@pytest.mark.parametrize("optimizer", [{}, {"elementwise": True, "online": True}])
def test_an_optimiser_that_workers_cannot_divide_up_is_refused(plan_of: PlanOf, catalog: Any, optimizer: dict[str, bool]) -> None:
    catalog.optimizers["adamw"] = replace(catalog.optimizers["adamw"], **optimizer)
    with pytest.raises(SpecError, match="every cell is refused: .*the optimiser adamw .* Fix: "):
        plan_of("deepspeed.zero_stage=1")


def test_a_sweep_of_refused_cells_only_is_a_fault(plan_of: PlanOf) -> None:
    with pytest.raises(SpecError) as caught:
        plan_of("methods={narrow: {}}", "models=[wide]")
    (fault,) = caught.value.faults
    assert (fault.path, fault.message) == (
        "methods",
        "nothing can be trained, every cell is refused: narrow on wide: narrow is defined for narrow models only",
    )


def test_each_model_has_its_own_targets(plan_of: PlanOf) -> None:
    plan = plan_of("targets={tiny: [q], wide: [v, q, o]}")
    assert {(trial.model.id, trial.targets) for trial in plan.trials} == {("tiny", ("q",)), ("wide", ("q", "v", "o"))}
    assert plan.certificate.ok


def test_each_task_has_its_own_data_and_budget(plan_of: PlanOf) -> None:
    plan = plan_of("tasks={reading: {}, counting: {data: {train: 3}, training: {epochs: 2}}}")
    facts = {(t.task, t.data.train, t.training.steps, t.training.epochs) for t in plan.trials}
    assert facts == {("reading", 8, 2, None), ("counting", 3, None, 2.0)}
    assert plan.certificate.ok


def test_outcomes_select_a_point_for_every_cell(plan_of: PlanOf) -> None:
    plan = plan_of("models=[tiny]")
    best = plan.factory.points[2]

    def outcome(trial: Trial) -> Outcome:
        score = 0.9 if trial.point == best else 0.1
        metrics = {"selection/f1": score, "selection/em": 1 - score, "selection/loss": 1.0}
        return Outcome(trial_id=trial.id, attempt="a", status="finished", started=0, ended=1, metrics=metrics)

    outcomes = {trial.id: outcome(trial) for trial in plan.trials}
    selections = plan.select(outcomes)
    assert list(selections) == list(plan.cells)
    assert all(selection.point == best and selection.score == pytest.approx(0.9) for selection in selections.values())
    lost = next(trial for trial in plan.trials if trial.point == best)
    del outcomes[lost.id]
    assert plan.select(outcomes)[cell_of(lost)].point != best
    assert len(plan.report_trials({cell: s.point for cell, s in selections.items()})) == 3 * len(plan.cells)


def test_ten_thousand_trials_are_planned_and_counted_once_per_capacity(plan_of: PlanOf, catalog: Any) -> None:
    plan = plan_of(
        f"grid.learning_rate={[round(1e-4 * k, 6) for k in range(1, 26)]}",
        "grid.scale=[0.5, 1, 2, 4]",
        "grid.dropout=[0.0]",
        "seeds.select=[100, 101, 102, 103, 104]",
        "models=[tiny]",
        "tasks=[reading]",
        f"methods={{thin: {{rank: {list(range(1, 21))}}}}}",
    )
    assert len(plan.trials) == 10_000
    assert len({trial.id for trial in plan.trials}) == 10_000
    assert plan.certificate.ok
    assert len(catalog.counted) == 20
