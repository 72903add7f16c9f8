"""A delivered sweep that somebody edits in MLflow: the audit finds each edit, by the rule that it breaks."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from orchestrator import tables
from orchestrator.audit import Audit, audit
from orchestrator.recorded import load
from orchestrator.sweep.runner import sweep_documents
from orchestrator.tracking import schema
from orchestrator.tracking.connection import connect
from orchestrator.tracking.delivery import Tracker
from orchestrator.tracking.records import RunReader
from search_spaces.trial import Trial, digest
from tests.orchestrator.leaderboard.conftest import Sweep, one_task
from trainers.outcomes import OutcomeStore

SWEEP = one_task()
LATE = 99
"""A step after the last one, so that what is logged there is the latest value."""


def score(trial: Trial) -> float:
    if trial.phase == "report":
        return 0.2 if trial.label == "base" else 0.5 + trial.seed / 10
    return {1e-3: 0.3, 1e-2: 0.8, 1e-1: 0.4}[float(trial.point["learning_rate"] or 0)]


class Store:
    """A tracking store that holds one delivered sweep, and what an editor can do to it."""

    def __init__(self, folder: Path) -> None:
        self.file, self.kept = folder / "mlflow.db", folder / "untouched.db"
        self.uri = f"sqlite:///{self.file}"
        self.client: MlflowClient = connect(self.uri)
        sweep, outcomes = Sweep(SWEEP, score), OutcomeStore(folder / "outcomes")
        self.tracker = Tracker(self.uri, "small", sweep.plan.digest, self.client)
        self.documents = sweep_documents(sweep.plan)
        for trial in sweep.trials:
            outcome = sweep.outcomes[trial.id]
            assert outcomes.commit(trial, outcome, outcomes.staging(trial.id, outcome.attempt))
            self.tracker.deliver(outcomes, trial.id)
        self.tracker.deliver_sweep(self.documents, "finished", now=100.0)
        self._copy(self.file, self.kept)

    def restore(self) -> None:
        self._copy(self.kept, self.file)
        self.tracker.deliver_sweep(self.documents, "finished", now=100.0)

    def audit(self) -> Audit:
        return audit(load(RunReader(self.uri, self.client), "small"))

    def find(self, phase: str = "select", method: str = "plain", rate: float | None = None, seed: int | None = None) -> Run:
        for run in self._runs(f"tags.`fairsweep.phase` = '{phase}' and tags.`fairsweep.method` = '{method}'"):
            point = json.loads(run.data.tags["fairsweep.point"])
            if rate in (None, point.get("learning_rate")) and seed in (None, int(run.data.tags["fairsweep.seed"])):
                return run
        raise AssertionError("no such run")

    def sweep_run(self) -> Run:
        return self._runs("tags.`fairsweep.kind` = 'sweep'")[0]

    def tag(self, run: Run, **tags: str) -> None:
        for name, value in tags.items():
            self.client.set_tag(run.info.run_id, f"fairsweep.{name}", value)

    def param(self, run: Run, name: str, value: str) -> None:
        """Change a param, which takes the database itself: the client refuses."""
        with closing(sqlite3.connect(self.file)) as database, database:
            changed = database.execute("UPDATE params SET value = ? WHERE run_uuid = ? AND key = ?", (value, run.info.run_id, name))
            assert changed.rowcount == 1

    def metric(self, run: Run, name: str, value: float) -> None:
        self.client.log_metric(run.info.run_id, name, value, step=LATE)

    def trial(self, run: Run, **training: Any) -> None:
        """Change the trial that a run holds, `training` of it or another section."""
        content = json.loads(run.data.tags[schema.TRIAL_JSON])
        content["training"] |= training
        self.tag(run, trial_json=json.dumps(content))

    def environment(self, run: Run, part: str, sealed: bool = True, **changes: Any) -> None:
        """Change the environment that a run names, its digest as well when `sealed`."""
        content = json.loads(run.data.tags[schema.ENVIRONMENT_JSON])
        content[part] = {**content.get(part, {}), **changes}
        self.tag(run, environment_json=json.dumps(content), **({"environment": digest(content)[:16]} if sealed else {}))

    def twin(self, run: Run) -> None:
        """Add another complete run of the same trial."""
        self.client.create_run(run.info.experiment_id, tags=dict(run.data.tags))

    def _runs(self, condition: str) -> list[Run]:
        experiment = self.client.get_experiment_by_name("fairsweep/small")
        assert experiment is not None
        return list(self.client.search_runs([experiment.experiment_id], condition))

    @staticmethod
    def _copy(source: Path, target: Path) -> None:
        with closing(sqlite3.connect(source)) as before, closing(sqlite3.connect(target)) as after:
            before.backup(after)


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("tampering"))


@pytest.fixture
def store(delivered: Store) -> Iterator[Store]:
    yield delivered
    delivered.restore()


def failing(certificate: Audit) -> dict[str, str]:
    return {rule.id: "\n".join(rule.evidence["deviations"]) for rule in certificate.rules if not rule.ok}


def test_what_was_delivered_holds(store: Store) -> None:
    found = store.audit()
    assert found.ok and failing(found) == {} and found.missing == () and found.unsealed == 0
    assert found.rule("F9").evidence["decided"]


Tamper = Callable[[Store], None]
EDITS: list[tuple[str, str, Tamper]] = [
    ("F1", "a learning rate, in the params", lambda s: s.param(s.find(), "learning_rate", "0.5")),
    ("F1", "a learning rate, in the trial", lambda s: s.trial(s.find(), learning_rate=0.5)),
    ("F1", "a trial that is none", lambda s: s.tag(s.find(), trial_json="{}")),
    ("F1", "a grid point", lambda s: s.tag(s.find(), point='{"learning_rate":0.5,"scale":1.0}')),
    ("F1", "a deleted grid point", lambda s: s.client.delete_run(s.find(rate=1e-3).info.run_id)),
    ("F2", "a capacity", lambda s: s.tag(s.find(method="thin"), capacity='{"rank":99}')),
    ("F2", "a size", lambda s: s.param(s.find(), "counts/peak", "7")),
    ("F3", "another training set", lambda s: s.param(s.find(), "digest/train", "other")),
    ("F3", "another test set", lambda s: s.param(s.find("report"), "digest/test", "other")),
    ("F3", "a cap", lambda s: s.param(s.find(), "data/train", "9000")),
    ("F3", "a truncation", lambda s: s.trial(s.find(), max_length=4096)),
    ("F4", "a batch size", lambda s: s.param(s.find(), "batch_size", "64")),
    ("F4", "more text", lambda s: s.metric(s.find(), "usage/text_tokens", 9999)),
    ("F4", "more steps", lambda s: s.trial(s.find(), steps=2000)),
    ("F5", "a deleted seed", lambda s: s.client.delete_run(s.find("report", seed=1).info.run_id)),
    ("F5", "a seed", lambda s: s.tag(s.find("report", seed=1), seed="7")),
    ("F5", "a second run", lambda s: s.twin(s.find("report"))),
    ("F6", "a look at the test split while selecting", lambda s: s.metric(s.find(), "usage/test_reads", 1)),
    ("F6", "a test score while selecting", lambda s: s.metric(s.find(), "test/f1", 0.9)),
    ("F6", "a second look", lambda s: s.metric(s.find("report"), "usage/test_reads", 2)),
    ("F6", "a test score", lambda s: s.metric(s.find("report"), "test/f1", 0.99)),
    ("F6", "a phase", lambda s: s.tag(s.find(), phase="report")),
    ("F7", "other matrices", lambda s: s.param(s.find(), "targets", '["q","k","v","o"]')),
    ("F8", "a precision", lambda s: s.environment(s.find(), "execution", dtype="bfloat16")),
    ("F8", "another base", lambda s: s.param(s.find(), "model_digest", "other")),
    ("F9", "a selection score at the edge", lambda s: s.metric(s.find(rate=1e-1), "selection/f1", 0.99)),
    ("F10", "a library", lambda s: s.environment(s.find(), "versions", torch="1.0")),
    ("F10", "hardware", lambda s: s.environment(s.find("report"), "hardware", processor="faster")),
    ("F10", "an environment that its digest does not name", lambda s: s.environment(s.find(), "hardware", sealed=False, machine="arm")),
    ("F10", "a digest that names no environment", lambda s: s.tag(s.find(), environment="0" * 16)),
    ("F10", "a memory figure", lambda s: s.metric(s.find("report"), "profile/peak_bytes", 1)),
    ("F11", "a selection score", lambda s: s.metric(s.find(rate=1e-3), "selection/f1", 0.99)),
    ("F11", "a selection loss", lambda s: s.metric(s.find(rate=1e-3), "selection/loss", 0.5)),
    ("F11", "a status", lambda s: s.tag(s.find(rate=1e-2), status="diverged")),
    ("F11", "a result that is none", lambda s: s.tag(s.find(), status="excellent")),
    ("F11", "a score that is no number", lambda s: s.metric(s.find(), "selection/f1", float("nan"))),
    ("F11", "a count that is no number", lambda s: s.metric(s.find("report"), "usage/test_reads", float("nan"))),
    ("F12", "another version of a method", lambda s: s.param(s.find(), "method_version", "v9")),
    ("F12", "another label", lambda s: s.tag(s.find(), method="thin")),
    ("F13", "a run under an altered digest", lambda s: s.tag(s.find("report"), digest="0" * 64)),
    ("F13", "a sweep under an altered digest", lambda s: s.tag(s.sweep_run(), digest="0" * 64)),
]


@pytest.mark.parametrize(("rule", "edit"), [pytest.param(rule, edit, id=f"{rule} {name}") for rule, name, edit in EDITS])
def test_an_edit_is_found(store: Store, rule: str, edit: Tamper) -> None:
    edit(store)
    found = store.audit()
    assert rule in failing(found)
    assert not found.ok


def test_the_edited_run_and_its_row_are_named(store: Store) -> None:
    run = store.find("report")
    store.metric(run, "test/f1", 0.99)
    (words,) = failing(store.audit()).values()
    assert words.startswith("plain on reading with tiny: ") and run.info.run_id in words and "its test was changed" in words


def test_a_run_that_is_not_counted_is_missing(store: Store) -> None:
    store.tag(store.find("report", seed=1), digest="0" * 64)
    found = store.audit()
    assert found.missing == ("plain on reading with tiny: report seed 1 at learning_rate=0.01, scale=1.0",)
    assert "is not counted" in failing(found)["F13"]


def test_a_digest_without_a_plan_is_refused_also_where_there_is_no_seal(store: Store) -> None:
    run = store.find("report", seed=1)
    store.client.delete_tag(run.info.run_id, schema.SEAL)
    store.tag(run, digest="0" * 64)
    found = store.audit()
    assert "of which there is no sweep run" in failing(found)["F13"]
    assert len(found.missing) == 1


def test_an_edited_plan_is_found(store: Store) -> None:
    document = json.loads(store.documents["plan.json"])
    document["spec"]["seeds"]["report"] = [0]
    store.client.log_text(store.sweep_run().info.run_id, json.dumps(document), "plan.json")
    store.client.delete_run(store.find("report", seed=1).info.run_id)
    assert "plan.json was edited" in failing(store.audit())["F13"]


def test_runs_without_a_seal_are_counted(store: Store) -> None:
    store.client.delete_tag(store.find().info.run_id, schema.SEAL)
    found = store.audit()
    assert found.ok and found.unsealed == 1


def test_foreign_runs_in_the_experiment_change_nothing(store: Store) -> None:
    experiment = store.find().info.experiment_id
    store.client.create_run(experiment)
    store.client.create_run(experiment, tags={schema.KIND: "trial"})
    store.client.create_run(experiment, tags={schema.KIND: "trial", schema.TRIAL: "x", schema.OUTCOME: "1", schema.DELIVERED: "1"})
    assert store.audit().ok


def test_rows_that_ran_in_the_same_mixture_of_environments_are_marked(store: Store) -> None:
    for method in ("plain", "thin"):
        store.environment(store.find("report", method, seed=1), "versions", torch="1.0")
    found = store.audit()
    assert found.rule("F10").ok
    assert "F10 ran in 2 environments" in found.marks()["plain on tiny"][0]


def test_reads_under_another_version_of_the_sweep_are_listed_and_marked(store: Store, tmp_path: Path) -> None:
    other, outcomes = Sweep(SWEEP.replace("steps: 2", "steps: 4"), score), OutcomeStore(tmp_path)
    tracker = Tracker(store.uri, "small", other.plan.digest, store.client)
    for trial in (*other.find("report", "plain"), *other.find("select", "plain", learning_rate=1e-3)):
        outcomes.commit(trial, other.outcomes[trial.id], outcomes.staging(trial.id, "a"))
        tracker.deliver(outcomes, trial.id)
    tracker.deliver_sweep(sweep_documents(other.plan), "finished", now=1.0)
    found = store.audit()
    listed = found.rule("F13").evidence["digests"][other.plan.digest]
    assert listed == {"runs": 2, "reads": 2, "shared": 0, "rows": {"plain on tiny": 2}}
    assert found.ok
    assert found.marks()["plain on tiny"] == [f"F13 its test split was also read 2 times under digest {other.plan.digest[:8]}"]


def test_failures_are_counted_by_method(store: Store) -> None:
    for rate in (1e-3, 1e-1):
        store.tag(store.find(rate=rate), status="diverged")
    found = store.audit()
    assert found.to_json()["failures"] == {"plain": {"select": {"diverged": 2}}}
    assert "failed: plain: 2 select diverged" in [str(part) for part in tables.audit(found)]


def test_the_command_names_the_rule_and_says_no(store: Store, tmp_path: Path) -> None:
    from click.testing import CliRunner

    from orchestrator.cli import cli

    store.metric(store.find("report"), "test/f1", 0.99)
    printed = CliRunner().invoke(cli, ["audit", "small", "--tracking-uri", store.uri, "--json"], prog_name="fairsweep")
    assert printed.exit_code == 1, printed.output
    assert [rule["id"] for rule in json.loads(printed.stdout)["rules"] if not rule["ok"]] == ["F6"]
