"""A sweep of encoders, from the file to its Outcomes: classes and numbers, AdamW beside LoKO."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from orchestrator.catalog import InstalledCatalog
from orchestrator.plan import Plan, load_plan
from search_spaces.errors import SpecError
from search_spaces.trial import Trial
from trainers.outcomes import OutcomeStore
from trainers.results import Job, Outcome
from trainers.worker import Worker

SWEEP = """
name: encoders
model: micro-bert
tasks: [sst2, stsb]
data: {source: embedded, train: 12, selection: 4, test: 4}
methods:
  lora: {rank: [2]}
  lora-loko: {method: lora, optimizer: loko, rank: [2]}
  lora-loko-softmax: {method: lora, optimizer: loko, noise: softmax, rank: [2]}
grid: {learning_rate: [1.0e-3, 1.0e-2]}
training: {steps: 3, batch_size: 4, max_length: 128, checkpoint: {best: metric, evaluations: 1}}
seeds: {select: [100], report: [0]}
"""


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    path = tmp_path_factory.mktemp("sweep") / "encoders.yaml"
    path.write_text(SWEEP)
    return load_plan(path, InstalledCatalog())


def test_the_certificate_holds_and_says_what_is_not_read(plan: Plan) -> None:
    assert plan.certificate.ok, plan.certificate.to_json()
    assert plan.certificate.rule("F1").evidence["unread"] == {"lora-loko": ["learning_rate"], "lora-loko-softmax": ["learning_rate"]}
    assert plan.certificate.rule("F12").evidence["variants"] == {
        "lora-loko": {"optimizer": "loko"},
        "lora-loko-softmax": {"optimizer": "loko", "noise": "softmax"},
    }
    assert {(cell.task, counts.head) for cell, counts in plan.counts.items()} == {("sst2", 306), ("stsb", 289)}


def test_the_covariance_of_classes_is_refused_for_numbers(plan: Plan) -> None:
    assert [(refusal.label, refusal.task) for refusal in plan.refused] == [("lora-loko-softmax", "stsb")]
    assert "defined for classes" in plan.refused[0].reason


def test_all_trials_finish_with_one_budget(plan: Plan, tmp_path: Path) -> None:
    worker, store = Worker(threads=1), OutcomeStore(tmp_path / "outcomes")

    def run(trials: Iterable[Trial]) -> dict[str, Outcome]:
        found = {}
        for trial in trials:
            worker.run(Job(trial, "a", str(tmp_path)))
            outcome = store.read(trial.id)
            assert outcome is not None and outcome.status == "finished", outcome and outcome.error
            found[trial.id] = outcome
        return found

    selects = run(plan.trials)
    selected = plan.select(selects)
    assert all(selection.score is not None for selection in selected.values())
    reports = run((*plan.report_trials({cell: selection.point for cell, selection in selected.items()}), *plan.base_trials))
    tested = {name for outcome in reports.values() for name in outcome.metrics if name.startswith("test/")}
    assert tested == {"test/accuracy", "test/pearson", "test/spearman", "test/loss"}
    budgets = {(trial.task, selects[trial.id].usage.text_tokens) for trial in plan.trials}
    assert len(budgets) == 2, "one for each task, the same for every method"


def test_loko_is_refused_with_a_method_that_adds_to_the_loss(tmp_path: Path) -> None:
    path = tmp_path / "encoders.yaml"
    path.write_text(SWEEP)
    more = "methods={lora: {rank: [2]}, evened: {method: dora_rank, optimizer: loko, rank: [2]}}"
    plan = load_plan(path, InstalledCatalog(), [more])
    assert {refusal.label for refusal in plan.refused} == {"evened"} and {cell.label for cell in plan.cells} == {"lora"}
    assert "adds a regulariser to the loss, which the optimiser loko does not minimise. Fix:" in plan.refused[0].reason


@pytest.mark.parametrize(
    ("override", "where", "words"),
    [
        ("methods.lora-loko.p0=-1.0", "methods.lora-loko.p0", "-1.0 is not valid. Valid: a number above 0, such as"),
        ("methods.lora-loko.r0=0", "methods.lora-loko.r0", "0 is not valid. Valid: a number above 0, such as"),
        ("methods.lora-loko.p0=.inf", "methods.lora-loko.p0", "inf is not valid. Valid: a number above 0, such as"),
        ("methods.lora-loko.forgetting=5", "methods.lora-loko.forgetting", "5 is not valid. Valid: a number at least 0, at most 1"),
        ("data.selection=1", "data.source", "data.selection is 1, and the metrics of stsb need 2 at least. Fix: raise"),
        ("data.test=1", "data.source", "data.test is 1, and the metrics of stsb need 2 at least. Fix: raise"),
    ],
)
def test_values_out_of_range_are_faults_of_the_file(tmp_path: Path, override: str, where: str, words: str) -> None:
    path = tmp_path / "encoders.yaml"
    path.write_text(SWEEP)
    with pytest.raises(SpecError) as caught:
        load_plan(path, InstalledCatalog(), [override])
    assert [fault.path for fault in caught.value.faults] == [where]
    assert words in caught.value.faults[0].message


def test_loko_is_refused_on_a_language_model_before_anything_runs(tmp_path: Path) -> None:
    path = tmp_path / "encoders.yaml"
    path.write_text(SWEEP)
    plan = load_plan(path, InstalledCatalog(), ["models=[micro-llama, micro-bert]"])
    reasons = {(refusal.label, refusal.task): refusal.reason for refusal in plan.refused}
    assert {refusal.model for refusal in plan.refused if refusal.label != "lora-loko-softmax"} == {"micro-llama"}
    assert "vocabulary" in reasons["lora-loko", "sst2"]
    assert "stsb has no form for causal language models" in reasons["lora", "stsb"]
    assert [cell.label for cell in plan.cells if cell.model == "micro-llama"] == ["lora"]
    assert plan.certificate.ok
