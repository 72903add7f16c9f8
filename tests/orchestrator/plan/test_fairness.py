"""Every rule holds on a fair sweep, planned or run, and names who deviates on one that was tampered with."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.fairness import Certificate, Entry, certify
from orchestrator.plan import Plan
from search_spaces.trial import Trial
from trainers.results import Counts, Usage

PlanOf = Callable[..., Plan]
Tamper = Callable[[Entry], Entry | None]


def observed(entry: Entry) -> Entry:
    """Return a trial as it is found after a run in which the first grid point won everywhere."""
    trial = entry.trial
    base, report = trial.label == "base", trial.phase == "report"
    score = 0.9 if trial.point.get("learning_rate") == 1e-3 and trial.point.get("dropout") == 0.0 else 0.5
    digests = {"train": "t", "selection": "s", "order": f"o{0 if base else trial.seed_of('order')}"} | ({"test": "x"} if report else {})
    usage = Usage() if base else Usage(steps=2, examples=4, text_tokens=70 + trial.seed, evaluations=1)
    return replace(
        entry,
        status="finished",
        usage=usage.model_copy(update={"test_reads": int(report)}),
        data_digests=digests,
        numerics={"dtype": trial.model.dtype, "deepspeed": {"zero_stage": 0}, "threads": 1},
        environment={"versions": {"torch": "2.13.0"}, "hardware": {"processor": "x"}},
        metrics={"selection/f1": score, "selection/loss": 1.0} | ({"test/f1": 0.4} if report else {}),
    )


@pytest.fixture
def planned(plan_of: PlanOf) -> list[Entry]:
    plan = plan_of()
    reports = plan.report_trials(dict.fromkeys(plan.cells, plan.factory.points[0]))
    return plan.entries((*plan.trials, *reports, *plan.base_trials))


@pytest.fixture
def run(planned: list[Entry]) -> list[Entry]:
    return [observed(entry) for entry in planned]


def with_trial(entry: Entry, **update: Any) -> Entry:
    """Return an entry whose trial was changed, nested fields included, as an edited run would be."""
    content = entry.trial.model_dump()
    for path, value in update.items():
        *way, last = path.split("__")
        node = content
        for key in way:
            node = node[key]
        node[last] = value
    # A new value: what the old entry has cached belongs to the old trial.
    return replace(entry, trial=Trial.model_validate(content))


def tampered(entries: list[Entry], who: Callable[[Entry], bool], how: Tamper) -> list[Entry]:
    hit = [entry for entry in entries if who(entry)]
    assert 0 < len(hit) < len(entries)
    return [new for entry in entries if (new := how(entry) if who(entry) else entry) is not None]


def failing(certificate: Certificate) -> set[str]:
    return {rule.id for rule in certificate.rules if not rule.ok}


def said(certificate: Certificate, rule: str) -> str:
    return "\n".join(certificate.rule(rule).evidence["deviations"])


def plain(entry: Entry) -> bool:
    return entry.trial.label == "plain"


def plain_select(entry: Entry) -> bool:
    return plain(entry) and entry.selects


def plain_report(entry: Entry) -> bool:
    return plain(entry) and entry.reports


def one(entries: list[Entry], who: Callable[[Entry], bool]) -> Callable[[Entry], bool]:
    first = next(entry for entry in entries if who(entry))
    return lambda entry: entry is first


def test_a_fair_sweep_holds_planned_and_run(planned: list[Entry], run: list[Entry]) -> None:
    for entries in (planned, run):
        certificate = certify(entries)
        assert failing(certificate) == set()
        assert certificate.ok
        json.dumps(certificate.to_json(), allow_nan=False)


def test_the_evidence_holds_the_facts(run: list[Entry]) -> None:
    certificate = certify(run)
    evidence = {rule.id: rule.evidence for rule in certificate.rules}
    assert evidence["F1"]["axes"] == {"learning_rate": [1e-3, 1e-2], "scale": [1.0], "dropout": [0.0, 0.1]}
    assert evidence["F1"]["points"] == {"thin": 4, "thin-flat": 4, "plain": 4}
    assert evidence["F1"]["unread"] == {"plain": ["dropout"]}
    assert evidence["F2"]["lengths"] == {"thin": 2, "thin-flat": 1, "plain": 1}
    assert (evidence["F2"]["compared_at"], evidence["F2"]["equal_lengths"]) == (1, False)
    assert evidence["F2"]["ladders"]["thin"][1] == {"capacity": {"rank": 4}, "trainable": {"tiny": 515, "wide": 515}}
    assert evidence["F3"]["data"]["reading with tiny"][0]["digest"] == "d1"
    assert evidence["F3"]["digests"]["reading with tiny, test"] == ["x"]
    assert evidence["F4"]["budgets"]["reading with tiny"] == [{"epochs": None, "steps": 2, "batch_size": 2, "evaluations": 1}]
    assert (evidence["F5"]["select"], evidence["F5"]["report"]) == ([100, 101], [0, 1, 2])
    assert evidence["F6"]["reads"] == {"select": 0, "report": 4 * 4 * 3 + 4}
    assert evidence["F7"]["targets"] == {"tiny": [["q", "v"]], "wide": [["q", "v"]]}
    assert evidence["F8"]["base"] == {"tiny": ["float32"], "wide": ["float32"]}
    assert evidence["F11"]["choices_verified"] == 16
    assert evidence["F12"]["variants"] == {"thin-flat": {"shape": "flat"}}
    assert evidence["F12"]["defaults"]["thin"] == {"shape": "round", "depth": 1}
    assert certificate.marks() == {}


@pytest.mark.parametrize(
    ("rule", "who", "change", "words"),
    [
        (
            "F1",
            plain_select,
            {"training__weight_decay": 0.1},
            "has beyond the others learning_rate=0.001, scale=1.0, weight_decay=0.1",
        ),
        ("F1", plain_report, {"training__learning_rate": 0.5, "point__learning_rate": 0.5}, "was not in its grid"),
        ("F1", plain_select, {"training__scale": 2.0}, "has scale=1.0 in its point and trains with 2.0"),
        ("F3", plain, {"data__digest": "other"}, "plain on reading with tiny: data has digest=other, where others have d1"),
        ("F3", plain, {"data__train": 9}, "has train=9, where others have 8"),
        ("F3", plain, {"data__seed": 9}, "has seed=9, where others have 0"),
        ("F3", plain, {"training__max_length": 9}, "has max_length=9, where others have 2048"),
        ("F3", plain, {"training__max_new_tokens": 9}, "has max_new_tokens=9, where others have 50"),
        (
            "F4",
            plain_select,
            {"training__steps": 3},
            "plain on reading with tiny: budgets steps=3, batch_size=2, evaluations=1, where",
        ),
        ("F4", plain_select, {"training__batch_size": 4}, "batch_size=4"),
        ("F4", plain_select, {"training__checkpoint__evaluations": 2}, "evaluations=2"),
        ("F4", plain_report, {"training__steps": 3}, "reported with a budget that was not searched: steps=3"),
        ("F5", plain_select, {"seed": 7}, "plain on reading with tiny: select seeds [7], where others have [100, 101]"),
        ("F5", plain_report, {"seed": 100}, "seeds [100] both select and report"),
        ("F5", plain, {"vary": ("init",)}, "the seed drives ('init',)"),
        ("F7", plain, {"targets": ("q",)}, "plain on tiny: adapts (targets, head, also_train) (('q',), 'default', ())"),
        ("F7", plain, {"head": "big"}, "'big'"),
        ("F7", plain, {"also_train": ("norms",)}, "('norms',)"),
        ("F8", plain, {"model__dtype": "bfloat16"}, "plain on tiny: base (dtype, weights) ('bfloat16', 'm1')"),
        ("F8", plain, {"model__digest": "m9"}, "'m9'"),
        ("F11", plain, {"training__checkpoint__best": "loss"}, "plain on reading with tiny: checkpoint rule ('loss', 1)"),
        ("F12", plain_select, {"training__scale": 2.0, "point__scale": 2.0}, "plain on reading with tiny: scale 2.0"),
    ],
)
def test_a_changed_trial_breaks_its_rule_and_is_named(
    planned: list[Entry], rule: str, who: Any, change: dict[str, Any], words: str
) -> None:
    certificate = certify(tampered(planned, who, lambda entry: with_trial(entry, **change)))
    assert rule in failing(certificate)
    assert words in said(certificate, rule)
    assert not certificate.ok


@pytest.mark.parametrize(
    ("rule", "who", "change", "words"),
    [
        ("F3", plain, {"data_digests": {"train": "other", "test": "x"}}, "plain on reading with tiny, train: digest other"),
        ("F3", plain_select, {"data_digests": {"train": "t", "order": "sorted"}}, "order of seed 100"),
        ("F3", plain, {"data_digests": {}}, "records no digest of"),
        (
            "F4",
            plain,
            {"usage": Usage(steps=3, test_reads=1)},
            "used ('steps', 'examples', 'text_tokens', 'evaluations') (3, 0, 0, 0)",
        ),
        ("F4", plain, {"usage": None}, "does not record its usage"),
        ("F6", plain_select, {"usage": Usage(test_reads=1)}, "of the select phase read the test split (1 reads"),
        ("F6", plain_select, {"metrics": {"test/f1": 0.3}}, "test/f1"),
        ("F6", plain_select, {"data_digests": {"train": "t", "test": "x"}}, "of the select phase read the test split"),
        ("F6", plain_report, {"usage": Usage(test_reads=2)}, "read the test split 2 times"),
        ("F6", plain_report, {"usage": Usage(test_reads=0)}, "read the test split 0 times"),
        ("F8", plain, {"numerics": {"threads": 4}}, "plain on tiny, threads: numerics 4, where others have 1"),
        ("F8", plain, {"numerics": {"deepspeed": {"zero_stage": 2}}}, '{"zero_stage": 2}'),
        ("F8", plain, {"numerics": None}, "does not record its precision"),
        ("F10", plain, {"environment": None}, "does not record its environment"),
        ("F10", plain, {"environment": {"versions": {"torch": "2.12.0"}}}, "processor x -> none, torch 2.13.0 -> 2.12.0"),
        ("F2", plain_select, {"counts": Counts(peak=1, stored=1)}, "plain on reading with tiny: trainable parameters 1 and 131"),
    ],
)
def test_what_was_observed_is_held_against_the_rules(run: list[Entry], rule: str, who: Any, change: dict[str, Any], words: str) -> None:
    certificate = certify(tampered(run, who, lambda entry: replace(entry, **change)))
    assert rule in failing(certificate)
    assert words in said(certificate, rule)


def test_the_selected_point_is_chosen_again(run: list[Entry]) -> None:
    def better(entry: Entry) -> bool:
        return plain_select(entry) and entry.trial.point["learning_rate"] == 1e-2 and entry.trial.point["dropout"] == 0.0

    certificate = certify(tampered(run, better, lambda e: replace(e, metrics={"selection/f1": 0.95, "selection/loss": 1.0})))
    assert failing(certificate) == {"F11"}
    assert "plain on reading with tiny: reports {'dropout': 0.0, 'learning_rate': 0.001" in said(certificate, "F11")
    assert "select {'dropout': 0.0, 'learning_rate': 0.01" in said(certificate, "F11")


def test_points_that_only_the_grids_order_tells_apart_may_both_be_reported(run: list[Entry]) -> None:
    def equal(entry: Entry) -> bool:
        return entry.selects and entry.trial.point["learning_rate"] == 1e-3

    certificate = certify(tampered(run, equal, lambda e: replace(e, metrics={"selection/f1": 0.9, "selection/loss": 1.0})))
    assert certificate.rule("F11").ok


def test_a_missing_point_breaks_f1(planned: list[Entry]) -> None:
    def who(entry: Entry) -> bool:
        return plain_select(entry) and entry.trial.point["learning_rate"] == 1e-2

    certificate = certify(tampered(planned, who, lambda entry: None))
    assert "plain on reading with tiny: grid lacks learning_rate=0.01" in said(certificate, "F1")
    assert certificate.rule("F1").evidence["points"]["plain"] == 2


def test_a_capacity_that_is_missing_on_one_task_breaks_f2(planned: list[Entry]) -> None:
    def who(entry: Entry) -> bool:
        return entry.row == "thin (rank=4)" and entry.trial.task == "counting"

    assert "thin with tiny: capacities thin (rank=2), where others have" in said(certify(tampered(planned, who, lambda e: None)), "F2")


def test_a_capacity_that_was_reported_unsearched_breaks_f2(planned: list[Entry]) -> None:
    certificate = certify(tampered(planned, plain_select, lambda entry: None))
    assert "plain on reading with tiny: reported without having been searched" in said(certificate, "F2")


def test_a_missing_seed_breaks_f5(planned: list[Entry]) -> None:
    certificate = certify(tampered(planned, one(planned, plain_select), lambda entry: None))
    assert failing(certificate) == {"F5"}
    assert "select seeds [100, 101] and [101]" in said(certificate, "F5")
    certificate = certify(tampered(planned, plain_report, lambda entry: None))
    assert "plain on reading with tiny: report seeds nothing, where others have 0 and 1 and 2" in said(certificate, "F5")


def test_before_the_report_phase_its_seeds_are_not_missed(planned: list[Entry]) -> None:
    assert certify([entry for entry in planned if not entry.reports]).ok


def test_a_trial_that_stands_twice_breaks_f5(planned: list[Entry]) -> None:
    assert f"trial {planned[0].trial.id} stands 2 times" in said(certify([*planned, planned[0]]), "F5")


def test_a_second_look_at_the_test_split_breaks_f6(planned: list[Entry], plan_of: PlanOf) -> None:
    plan = plan_of()
    cell = next(cell for cell in plan.cells if cell.label == "plain")
    again = plan.entries(plan.report_trials({cell: plan.factory.points[1]}))
    assert "plain on reading with tiny: the test split was read by report runs at 2 grid points" in said(certify([*planned, *again]), "F6")


def test_failed_trials_do_not_break_the_budget_but_stay_in_the_grid(run: list[Entry]) -> None:
    def fail(entry: Entry) -> Entry:
        return replace(entry, status="diverged", usage=Usage(steps=1), data_digests={}, numerics=None, metrics={})

    def who(entry: Entry) -> bool:
        return plain_select(entry) and entry.trial.point["learning_rate"] == 1e-2

    assert certify(tampered(run, who, fail)).ok


def test_the_untuned_model_must_see_the_same_data(run: list[Entry]) -> None:
    def base(entry: Entry) -> bool:
        return entry.trial.label == "base"

    certificate = certify(tampered(run, base, lambda entry: with_trial(entry, data__test=99)))
    assert "base on reading with tiny: data has test=99, where others have 4" in said(certificate, "F3")
    twice = certify(tampered(run, base, lambda e: replace(e, usage=Usage(test_reads=2))))
    assert failing(twice) == {"F6"}
    odd = certify(tampered(run, base, lambda entry: with_trial(entry, seed=9)))
    assert "base: seeds [9] are no report seeds" in said(odd, "F5")


def test_a_variant_alone_is_marked(plan_of: PlanOf) -> None:
    certificate = plan_of("methods={thin-flat: {method: thin, shape: flat, rank: 2}, plain: {}}").certificate
    assert certificate.ok
    assert certificate.marks() == {"thin-flat": ["F12 no row of thin with its defaults beside it"]}


def test_another_optimizer_is_a_variant(planned: list[Entry]) -> None:
    def who(entry: Entry) -> bool:
        return entry.trial.label == "thin-flat"

    certificate = certify(tampered(planned, who, lambda entry: with_trial(entry, training__optimizer="other")))
    assert certificate.rule("F12").evidence["variants"] == {"thin-flat": {"shape": "flat", "optimizer": "other"}}
    assert certificate.ok


def test_one_label_is_one_implementation(planned: list[Entry]) -> None:
    certificate = certify(tampered(planned, one(planned, plain_select), lambda entry: with_trial(entry, method__version="v9")))
    assert failing(certificate) == {"F12"}
    assert "v9" in said(certificate, "F12")


def test_scale_in_the_grid_is_fair(plan_of: PlanOf) -> None:
    certificate = plan_of("grid.scale=[0.5, 1.0, 2.0]").certificate
    assert certificate.ok
    assert certificate.rule("F12").evidence["scale"] == [0.5, 1.0, 2.0]


def test_a_grid_may_vary_the_budget(plan_of: PlanOf) -> None:
    plan = plan_of("grid.steps=[2, 3]")
    reports = plan.report_trials({cell: plan.factory.points[n % 2] for n, cell in enumerate(plan.cells)})
    certificate = certify(plan.entries((*plan.trials, *reports, *plan.base_trials)))
    assert certificate.ok
    assert [budget["steps"] for budget in certificate.rule("F4").evidence["budgets"]["reading with tiny"]] == [2, 3]


def test_nothing_at_all_is_fair() -> None:
    assert certify([]).ok
