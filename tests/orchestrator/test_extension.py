"""`fairsweep extend`: the next sweep file, made from MLflow alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from mlflow import MlflowClient

from orchestrator.cli import cli
from orchestrator.sweep.runner import sweep_documents
from orchestrator.tracking.delivery import Tracker
from search_spaces.domains import LogUniform
from search_spaces.loading import load_spec
from search_spaces.trial import Trial
from tests.orchestrator.leaderboard.conftest import Sweep, one_task
from trainers.outcomes import OutcomeStore

SWEEP = one_task("NAME")
Deliver = Callable[..., str]


def apart(trial: Trial) -> float:
    """`plain` is best at the lowest learning rate, `thin` at the highest."""
    rate = float(trial.point.get("learning_rate") or 0)
    return rate if trial.label == "thin" else 1 - rate


def inside(trial: Trial) -> float:
    return 0.9 if trial.point.get("learning_rate") == 1e-2 else 0.1


@pytest.fixture
def deliver(uri: str, client: MlflowClient, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Deliver:
    """Runs the select phase of a sweep file, and delivers it; returns the sweep's name."""
    monkeypatch.chdir(tmp_path)

    def run(name: str, score: Callable[[Trial], float] = apart, text: str = SWEEP, most: int | None = None) -> str:
        sweep, store = Sweep(text.replace("NAME", name), score), OutcomeStore(tmp_path / name)
        tracker = Tracker(uri, name, sweep.plan.digest, client)
        tracker.deliver_sweep(sweep_documents(sweep.plan), "stopped", now=1.0)
        for trial in [trial for trial in sweep.trials if trial.phase == "select"][:most]:
            store.commit(trial, sweep.outcomes[trial.id], store.staging(trial.id, "a"))
            tracker.deliver(store, trial.id)
        return name

    return run


@pytest.fixture
def extend(uri: str) -> Callable[..., Result]:
    return lambda *arguments: CliRunner().invoke(cli, ["extend", *arguments, "--tracking-uri", uri], prog_name="fairsweep")


def written(file: str) -> Any:
    return load_spec(Path(file))


def test_the_grid_grows_by_a_step_at_each_end_that_a_point_lies_on_for_all_methods(deliver: Deliver, extend: Any) -> None:
    done = extend(deliver("both-ends"))
    assert done.exit_code == 0, done.output
    assert "fairsweep run both-ends-extended.yaml" in done.stdout
    spec = written("both-ends-extended.yaml")
    assert spec.name == "both-ends"
    assert spec.grid == {"learning_rate": (1e-4, 1e-3, 1e-2, 1e-1, 1.0), "scale": (1.0,)}
    assert spec.search.extended["learning_rate"].model_dump() == {"low": 1, "high": 1}
    assert dict(spec.methods) == dict(load_spec_text(SWEEP).methods)


def load_spec_text(text: str) -> Any:
    file = Path("plain.yaml")
    file.write_text(text.replace("NAME", "plain"))
    return load_spec(file)


def test_the_domain_of_a_search_is_widened_by_a_quarter_of_its_width(deliver: Deliver, extend: Any) -> None:
    domain = "grid: {learning_rate: {log_uniform: [1.0e-5, 1.0e-1]}, dropout: {uniform: [0.0, 0.2]}}"
    text = SWEEP.replace("grid: {learning_rate: [1.0e-3, 1.0e-2, 1.0e-1]}", f"{domain}\nsearch: {{algorithm: optuna, trials: 34}}")
    done = extend(deliver("searched", lambda trial: float(trial.point.get("learning_rate") or 0), text=text))
    assert done.exit_code == 0, done.output
    assert "learning_rate=1 at the high end" in done.stdout and "whose points are other ones from the start" in done.stdout.replace(
        "\n", " "
    )
    spec = written("searched-extended.yaml")
    assert spec.grid["learning_rate"] == LogUniform(1e-5, 1.0)
    assert spec.search.extended["learning_rate"].model_dump() == {"low": 0, "high": 1} and spec.search.trials == 34


def test_what_has_run_is_part_of_the_extended_sweep(deliver: Deliver, extend: Any) -> None:
    extend(deliver("same-trials"))
    before = Sweep(SWEEP.replace("NAME", "same-trials"), apart)
    after = Sweep(Path("same-trials-extended.yaml").read_text(), apart)
    assert {trial.id for trial in before.plan.trials} < {trial.id for trial in after.plan.trials}
    assert len(after.plan.trials) == 2 * 5 and before.plan.digest != after.plan.digest


def test_an_end_is_extended_twice_at_most(deliver: Deliver, extend: Any) -> None:
    text = SWEEP.replace("seeds:", "search: {extended: {learning_rate: {low: 1, high: 2}}}\nseeds:")
    done = extend(deliver("spent", text=text), "--json")
    document = json.loads(done.stdout)
    assert done.exit_code == 0
    assert document["steps"] == [{"axis": "learning_rate", "end": "low", "value": 1e-4}]
    assert [edge["end"] for edge in document["exhausted"]] == ["high"]
    assert written(document["file"]).search.extended["learning_rate"].model_dump() == {"low": 2, "high": 2}


def test_the_answer_is_no_where_nothing_can_be_extended(deliver: Deliver, extend: Any) -> None:
    done = extend(deliver("inside", inside))
    assert done.exit_code == 1 and "no selected point of inside lies on an edge" in done.stdout
    text = SWEEP.replace("seeds:", "search: {extended: {learning_rate: {low: 2, high: 2}}}\nseeds:")
    done = extend(deliver("all-spent", text=text))
    assert done.exit_code == 1 and "--accept-edge" in done.stdout
    assert not list(Path().glob("*-extended.yaml"))


def test_a_select_phase_that_is_not_complete_is_told(deliver: Deliver, extend: Any) -> None:
    done = extend(deliver("partial", most=3))
    assert done.exit_code == 2 and "not complete" in done.output and "Fix: run the sweep first" in done.output


def test_a_file_of_the_users_own_is_not_replaced_unasked(deliver: Deliver, extend: Any) -> None:
    name = deliver("kept")
    own = Path("kept-extended.yaml")
    own.write_text("# mine\n")
    refused = extend(name)
    assert refused.exit_code == 2 and "--out" in refused.output and own.read_text() == "# mine\n"
    assert extend(name, "--out", str(own)).exit_code == 0
    assert extend(name).exit_code == 0, "what the command wrote it may replace"
    assert written(str(own)).search.extended["learning_rate"].low == 1


def test_an_extended_sweep_no_longer_accepts_edges(deliver: Deliver, extend: Any) -> None:
    extend(deliver("again", text=SWEEP.replace("seeds:", "search: {accept_edge: true}\nseeds:")))
    assert not written("again-extended.yaml").search.accept_edge
