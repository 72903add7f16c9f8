"""A small sweep, planned with made-up methods, whose trials have made-up Outcomes."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from orchestrator.plan import Plan, make_plan
from orchestrator.recorded import RecordedSweep
from orchestrator.tracking import schema
from orchestrator.tracking.records import RunRecord
from search_spaces.errors import NotApplicableError
from search_spaces.spec import SweepSpec
from search_spaces.trial import DataRef, ModelRef, Scalar, Trial
from search_spaces.trial import digest as digest_of
from trainers.api import HubSource, MethodCard, OptimizerCard, TaskCard
from trainers.results import Count, Counts, Outcome

SWEEP = """
name: small
models: [tiny]
tasks: [reading, counting]
data: {source: embedded, train: 8, selection: 4, test: 4}
methods:
  thin: {rank: [2, 4]}
  plain: {}
  narrow: {}
targets: [q, v]
grid: {learning_rate: [1.0e-3, 1.0e-2]}
training: {steps: 2, batch_size: 2, checkpoint: {best: metric, evaluations: 1}}
seeds: {select: [100], report: [0, 1, 2]}
"""

ENVIRONMENT = {
    "versions": {"torch": "2.13.0"},
    "hardware": {"machine": "x86_64", "processor": "made-up", "accelerator": None},
    "execution": {"dtype": "float32", "deepspeed": {"zero_stage": 0}, "threads": 1},
}
Score = Callable[[Trial], float]


def one_task(name: str = "small", rates: str = "1.0e-3, 1.0e-2, 1.0e-1", report: str = "0, 1") -> str:
    """The text of a sweep of two methods on one task."""
    return f"""
name: {name}
models: [tiny]
tasks: [reading]
data: {{source: embedded, train: 8, selection: 4, test: 4}}
methods:
  thin: {{rank: [2]}}
  plain: {{}}
targets: [q, v]
grid: {{learning_rate: [{rates}]}}
training: {{steps: 2, batch_size: 2, checkpoint: {{best: metric, evaluations: 1}}}}
seeds: {{select: [100], report: [{report}]}}
"""


class MadeUpCatalog:
    """Methods `thin` (a rank), `plain` (none), `narrow` (on no model), `normed` (trains norms).

    The model `reader` has a head, for the tasks `grades` (nothing else can do it) and `kinds`.
    """

    def method(self, name: str) -> MethodCard:
        extra = ("norms",) if name == "normed" else ()
        return MethodCard(name, "made-up", "no paper", "no source", ("rank",) if name == "thin" else (), trains_extra=extra)

    def method_version(self, name: str) -> str:
        return "v1"

    def optimizer(self, name: str) -> OptimizerCard:
        return OptimizerCard(name, "no paper", "no source", ("learning_rate",))

    def optimizer_version(self, name: str) -> str:
        return "o1"

    def has_head(self, model: ModelRef) -> bool:
        return model.id == "reader"

    def task(self, name: str) -> TaskCard:
        form, num_labels = {"grades": (None, 1), "kinds": ("choose", 3)}.get(name, ("generate", None))
        return TaskCard(name, name, HubSource("a/b", "r"), "MIT", "nobody", form, "f1", ("f1", "em"), ("question",), num_labels=num_labels)

    def model(self, ref: ModelRef) -> ModelRef:
        return ref.model_copy(update={"digest": f"weights of {ref.id}"})

    def data(self, task: str, source: str, *, train: int, selection: int, test: int, seed: int) -> DataRef:
        return DataRef(source=source, train=train, selection=selection, test=test, seed=seed, digest=f"rows of {task}")

    def count(
        self,
        model: ModelRef,
        method: str,
        capacity: Mapping[str, Scalar],
        settings: Mapping[str, Any],
        targets: Sequence[str],
        also_train: Sequence[str],
        num_labels: int | None,
    ) -> Count:
        if method == "narrow":
            raise NotApplicableError("narrow is defined for narrow models only")
        return Count(
            Counts(peak=1000 * int(capacity.get("rank", 1)), stored=10, head=3), roles=("o",) if method == "fixed" else tuple(targets)
        )


def observed(trial: Trial, score: float, **changes: Any) -> Outcome:
    """A finished Outcome with a main metric of `score`, half of it as the other metric."""
    report, base = trial.phase == "report", trial.method.name == "base"
    split = "test" if report else "selection"
    digests = {} if base else {"train": "t", "selection": "s", "order": f"o{trial.seed}"}
    content: dict[str, Any] = {
        "trial_id": trial.id,
        "attempt": "a",
        "status": "finished",
        "started": 1000.0,
        "ended": 1060.0,
        "metrics": {f"{split}/f1": score, f"{split}/em": score / 2, f"{split}/loss": 1.0},
        "counts": {"peak": 1000 * int(trial.method.capacity.get("rank", 1)), "stored": 10, "head": 3},
        "usage": {"steps": 2, "examples": 4, "text_tokens": 40, "evaluations": 1, "test_reads": int(report)},
        "profile": {"seconds_per_step": 0.5, "peak_bytes": 1_500_000_000, "adapter_bytes": 4096},
        "data_digests": {**digests, "test": "x"} if report else digests,
        "environment": ENVIRONMENT,
    }
    if base:
        content |= {"usage": {"test_reads": 1}, "counts": {"peak": 0, "stored": 0}}
    if changes.get("status", "finished") != "finished":
        content |= {"metrics": {}, "usage": {}, "data_digests": {}, "error": "it broke"}
    content |= changes
    return Outcome.model_validate({"environment_digest": digest_of(content["environment"])[:16], **content})


def record(trial: Trial, outcome: Outcome, digest: str = "another") -> RunRecord:
    """The run that delivery would make of an Outcome."""
    return RunRecord(
        run_id=f"run-{trial.id}",
        trial_id=trial.id,
        tags={**schema.tags_of(trial, outcome, "small", digest, "0"), schema.DELIVERED: "0"},
        params=schema.params_of(trial, outcome),
        metrics=schema.finals_of(outcome),
        run_status=schema.RUN_STATUS[outcome.status],
        started=outcome.started,
        ended=outcome.ended,
    )


def default_score(trial: Trial) -> float:
    """The untuned model 0.2; methods 0.5, 0.6, 0.7 by report seed; the larger learning rate selects."""
    if trial.method.name == "base":
        return 0.2
    return float(trial.point["learning_rate"] or 0) * 10 if trial.phase == "select" else 0.5 + trial.seed / 10


class Sweep:
    """A planned sweep with the runs of all its trials; tests change some of them."""

    def __init__(self, text: str, score: Score) -> None:
        self.plan: Plan = make_plan(SweepSpec.model_validate(yaml.safe_load(text)), MadeUpCatalog())
        select: dict[str, Outcome] = {}
        # One exploration is told of the Outcomes as they come.
        exploration = self.plan.exploration
        while new := [trial for trial in exploration.due(select) if trial.id not in select]:
            select |= {trial.id: observed(trial, score(trial)) for trial in new}
        points = {cell: selection.point for cell, selection in self.plan.select(select).items()}
        self.trials = (*exploration.due(select), *self.plan.base_trials, *self.plan.report_trials(points))
        self.outcomes = {trial.id: observed(trial, score(trial)) for trial in self.trials}

    def find(self, phase: str, label: str, task: str = "reading", **point: Any) -> list[Trial]:
        """The trials of a label, optionally at one `rank`, `seed` or `learning_rate`."""
        known = [t for t in self.trials if (t.phase, t.label, t.task) == (phase, label, task)]
        return [t for t in known if all({**t.method.capacity, **t.point, "seed": t.seed}[k] == v for k, v in point.items())]

    def change(self, trials: Sequence[Trial], **changes: Any) -> None:
        """Change the Outcomes of some trials, as in `observed`."""
        for trial in trials:
            self.outcomes[trial.id] = observed(trial, default_score(trial), **changes)

    def records(self) -> list[RunRecord]:
        return [record(trial, self.outcomes[trial.id]) for trial in self.trials if trial.id in self.outcomes]

    def recorded(self, *more: RunRecord) -> RecordedSweep:
        """The sweep as it would be read from MLflow."""
        return RecordedSweep(json.loads(json.dumps(self.plan.document())), [*self.records(), *more])


@pytest.fixture(scope="session")
def sweep_of() -> Callable[..., Sweep]:
    """Plans and runs a sweep; takes the text of a sweep file and a score per trial."""
    return lambda text=SWEEP, score=default_score: Sweep(text, score)


@pytest.fixture
def sweep(sweep_of: Callable[..., Sweep]) -> Sweep:
    return sweep_of()


@pytest.fixture
def sweep_text() -> str:
    return SWEEP


@pytest.fixture
def recorded_run() -> Callable[..., RunRecord]:
    """Makes the run that delivery would make of a trial's Outcome."""
    return record


@pytest.fixture
def outcome_with() -> Callable[..., Outcome]:
    """Makes an Outcome of a trial with a main metric."""
    return observed


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("FAIRSWEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"
