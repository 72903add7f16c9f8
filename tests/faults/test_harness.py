"""The harness itself: what it must catch, and what it must leave alone."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from orchestrator.tracking.connection import connect
from orchestrator.tracking.delivery import Tracker
from search_spaces.trial import Trial
from tests.faults import inspection, runs
from tests.faults.__main__ import main, tried
from tests.faults.driver import Driver
from tests.faults.fault import Fault, load_faults
from tests.faults.lab import Lab
from tests.faults.plugin.fairsweep_planted import Planted
from tests.faults.processes import Ledger, alive
from tests.faults.records import read_records
from tests.faults.report import document
from tests.faults.sweep import NAME
from tests.faults.undisturbed import Undisturbed
from tests.faults.world import World
from tests.orchestrator.conftest import make_outcome, make_trial
from trainers.outcomes import OutcomeStore

TRIALS = {"select": make_trial(seed=100), "report": make_trial(phase="report", seed=1)}


def commit(world: World, trial: Trial, rows: tuple[str, ...] = ("a", "b"), **outcome: Any) -> None:
    store = OutcomeStore(world.outcomes)
    made = make_outcome(trial, **outcome)
    staging = store.staging(trial.id, made.attempt)
    (staging / "adapter").mkdir()
    (staging / "adapter" / "adapter.safetensors").write_bytes(b"weights")
    pq.write_table(pa.table({"prediction": list(rows)}), staging / "predictions.parquet")
    store.commit(trial, made, staging)


def discard(world: World, trial: Trial) -> None:
    shutil.rmtree(world.outcomes / trial.id)


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A world with a trial of either phase that has finished."""
    made = World(tmp_path, Ledger(), lambda text: None)
    for trial in TRIALS.values():
        commit(made, trial)
    return made


@pytest.fixture
def undisturbed(world: World, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    copy = tmp_path_factory.mktemp("undisturbed") / "outcomes"
    shutil.copytree(world.outcomes, copy)
    return Undisturbed(read_records(copy), {"lora": {"squad": {"seeds": 1}}}, 0.0, 100.0)


def found(world: World, undisturbed: Undisturbed, **extra: int) -> str:
    return "\n".join(inspection.outcomes(read_records(world.outcomes), undisturbed, extra))


# ------------------------------------------------------------------------------------------------ Outcomes


def test_the_same_results_are_no_violation(world: World, undisturbed: Undisturbed) -> None:
    discard(world, TRIALS["report"])
    commit(world, TRIALS["report"], attempt="a2", started=1_700_000_100.0, ended=1_700_000_200.0)
    assert found(world, undisturbed) == ""


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"metrics": {"selection/f1": 0.5, "selection/loss": 1.2500001}}, "metrics selection/loss: 1.2500001 instead of 1.25"),
        ({"curves": {"train/loss": [(1, 3.0)]}}, "curves selection/f1: None instead of"),
        ({"status": "diverged"}, "status diverged instead of finished"),
        ({"best_step": 6}, "best_step 6 instead of 3"),
        ({"rows": ("a", "c")}, "predictions differ"),
    ],
)
def test_a_changed_result_is_a_violation(world: World, undisturbed: Undisturbed, change: dict[str, Any], words: str) -> None:
    discard(world, TRIALS["report"])
    commit(world, TRIALS["report"], **change)
    assert words in found(world, undisturbed)


def test_a_changed_adapter_and_a_damaged_folder_are_violations(world: World, undisturbed: Undisturbed) -> None:
    (world.outcomes / TRIALS["select"].id / "adapter" / "adapter.safetensors").write_bytes(b"weightS")
    text = found(world, undisturbed)
    assert "the adapter's weights differ" in text and "adapter/adapter.safetensors is missing, or not as it was written" in text


def test_a_missing_trial_is_a_violation(world: World, undisturbed: Undisturbed) -> None:
    discard(world, TRIALS["select"])
    assert f"trial {TRIALS['select'].id} (lora, select) has no Outcome" in found(world, undisturbed)


def test_a_faults_own_trials_must_end_as_it_says(world: World, undisturbed: Undisturbed) -> None:
    commit(world, make_trial(seed=7), status="diverged", metrics={})
    assert found(world, undisturbed, diverged=1) == ""
    assert "ended as {'diverged': 1}, not as none" in found(world, undisturbed)
    assert "not as {'diverged': 2}" in found(world, undisturbed, diverged=2)


# ------------------------------------------------------------------------------------------------ MLflow


@pytest.fixture(scope="module")
def store_uri(tmp_path_factory: pytest.TempPathFactory) -> str:
    """An empty tracking store, made once: its database takes longer than all the rest."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('mlflow')}/mlflow.db"
    connect(uri).get_experiment_by_name("none")
    return uri


@pytest.fixture
def delivered(world: World, store_uri: str) -> World:
    """The world with its trials and its sweep delivered."""
    shutil.copy(store_uri.removeprefix("sqlite:///"), world.uri.removeprefix("sqlite:///"))
    tracker, store = Tracker(world.uri, NAME, "d" * 64), OutcomeStore(world.outcomes)
    for trial_id in store.ids():
        tracker.deliver(store, trial_id)
    tracker.deliver_sweep({}, "finished", 1.0)
    return world


def recorded(world: World) -> str:
    return "\n".join(runs.violations(world.uri, NAME, read_records(world.outcomes)))


def run_ids(world: World, kind: str = "trial") -> list[str]:
    client = connect(world.uri)
    experiment = client.get_experiment_by_name(f"fairsweep/{NAME}")
    assert experiment is not None
    return [run.info.run_id for run in client.search_runs([experiment.experiment_id], f"tags.`fairsweep.kind` = '{kind}'")]


def test_complete_runs_are_no_violation(delivered: World) -> None:
    assert recorded(delivered) == ""


def test_a_duplicated_run_is_a_violation(delivered: World) -> None:
    client = connect(delivered.uri)
    run = client.get_run(run_ids(delivered)[0])
    client.create_run(run.info.experiment_id, tags=dict(run.data.tags))
    assert "has 2 live runs in MLflow and an Outcome" in recorded(delivered)


def test_a_missing_run_and_a_run_without_an_outcome_are_violations(delivered: World) -> None:
    connect(delivered.uri).delete_run(run_ids(delivered)[0])
    assert "has 0 live runs in MLflow and an Outcome" in recorded(delivered)
    discard(delivered, TRIALS["select"])
    discard(delivered, TRIALS["report"])
    assert "has 1 live runs in MLflow and no Outcome" in recorded(delivered)


def test_a_run_with_too_much_or_too_little_is_a_violation(delivered: World) -> None:
    client, run_id = connect(delivered.uri), run_ids(delivered)[0]
    client.log_metric(run_id, "train/loss", 9.0, step=99)
    client.log_param(run_id, "more", "1")
    client.log_text(run_id, "more", "more.txt")
    text = recorded(delivered)
    assert "and has [('train/loss', 99, 9.0)] in excess" in text
    assert "has other params: [('more', '1')]" in text and "has other artifacts: [('more.txt', 4)]" in text


def test_an_interrupted_delivery_is_a_violation(delivered: World) -> None:
    run_id, sweep_id = run_ids(delivered)[0], run_ids(delivered, "sweep")[0]
    client = connect(delivered.uri)
    client.delete_tag(run_id, "fairsweep.delivered")
    client.set_tag(sweep_id, "fairsweep.status", "running")
    text = recorded(delivered)
    assert "was not delivered to its end" in text and "the status ['running'], not one that is finished" in text


# ------------------------------------------------------------------------------------------------ trained again


def test_a_replaced_outcome_is_a_violation(world: World) -> None:
    world.remember()
    discard(world, TRIALS["select"])
    commit(world, TRIALS["select"], attempt="a2")
    world.remember()
    (violation,) = world.violations
    assert "had finished, and its Outcome was replaced: attempt a2 in place of a1" in violation


def test_an_attempt_at_a_finished_trial_is_a_violation(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.faults.world.LOOK_SECONDS", 0.0)
    store, trial = OutcomeStore(world.outcomes), make_trial(seed=7)
    store.staging(trial.id, "killed")
    world.look()
    commit(world, trial, attempt="a2")
    world.look()
    world.look()
    assert world.violations == [], "what a killed attempt left is none"
    store.staging(trial.id, "a3")
    world.look()
    assert world.violations == [f"trial {trial.id} had finished, and attempt a3 trained it again"]


# ------------------------------------------------------------------------------------------------ drivers


@pytest.fixture
def driver_of(tmp_path: Path) -> Callable[..., Driver]:
    """Makes a driver that has ended, from what it answered and showed."""

    def make(answer: dict[str, Any] | None = None, errors: str = "", before: frozenset[str] = frozenset()) -> Driver:
        (tmp_path / "answer").write_text(json.dumps(answer) if answer is not None else "")
        (tmp_path / "errors").write_text(errors)
        process = subprocess.Popen([sys.executable, "-c", ""])
        process.wait()
        return Driver(1, process, tmp_path / "answer", tmp_path / "errors", before)

    return make


ROW = {"method": "lora", "tasks": {"squad": {"metrics": {}, "seeds": 1, "finished": 1, "selected": {}, "more": 5}}}
ANSWER: dict[str, Any] = {"trials": 2, "finished": 2, "failed": 0, "skipped": 1, "undelivered": [], "leaderboard": [ROW]}
BOARD = {"lora": {"squad": {"metrics": {}, "seeds": 1, "finished": 1, "selected": {}}}}


def test_an_answer_must_be_the_truth(world: World, undisturbed: Undisturbed, driver_of: Callable[..., Driver]) -> None:
    expected = Undisturbed(undisturbed.records, BOARD, 0.0, 1.0)
    before = frozenset([TRIALS["select"].id])
    assert inspection.answer(driver_of(ANSWER, before=before), undisturbed.records, expected) == []
    (line,) = inspection.answer(driver_of({**ANSWER, "skipped": 0}, before=before), undisturbed.records, expected)
    assert line == "the last run says skipped: 0, not 1"
    (line,) = inspection.answer(driver_of({**ANSWER, "leaderboard": []}, before=before), undisturbed.records, expected)
    assert "the leaderboard's row lora is None" in line
    assert inspection.answer(driver_of(), undisturbed.records, expected) == ["start 1 answered nothing"]


def test_an_internal_error_is_a_violation(driver_of: Callable[..., Driver]) -> None:
    assert inspection.messages(driver_of(errors="fairsweep: interrupted\n")) == []
    (line,) = inspection.messages(driver_of(errors="fairsweep: internal error: KeyError(1). This is a defect\n"))
    assert "internal error: KeyError(1)" in line


# ------------------------------------------------------------------------------------------------ processes


@pytest.fixture
def sleeper() -> Iterator[Callable[[], subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []

    def start() -> subprocess.Popen[bytes]:
        started.append(subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"]))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def test_only_noted_processes_are_ended(sleeper: Callable[[], subprocess.Popen[bytes]]) -> None:
    ours, other, ledger = sleeper(), sleeper(), Ledger()
    ledger.note(ours.pid)
    assert [process.pid for process in ledger.alive()] == [ours.pid]
    ledger.end()
    assert ours.wait() == -signal.SIGKILL and other.poll() is None and not ledger.alive()


def test_an_id_that_went_to_another_process_is_left_alone(sleeper: Callable[[], subprocess.Popen[bytes]]) -> None:
    process, ledger = sleeper(), Ledger()
    ledger.note(process.pid)
    (noted,) = ledger.alive()
    noted._create_time = noted.create_time() - 100  # type: ignore[attr-defined]  # as if the id had been another's
    noted._ident = (noted.pid, noted._create_time)  # type: ignore[attr-defined]
    assert not alive(noted)
    ledger.end()
    assert process.poll() is None


def test_a_trap_holds_as_many_as_it_has_tickets(world: World) -> None:
    world.set_trap(step=3, tickets=1)
    for step in (2, 3):
        threading.Thread(target=Planted._halt, args=(world.signals, step), daemon=True).start()
    world.wait(lambda: len(world.held()) == 1)
    passing = threading.Thread(target=Planted._halt, args=(world.signals, 3), daemon=True)
    passing.start()
    passing.join(timeout=60)
    assert not passing.is_alive(), "there was one ticket"
    world.release()
    world.wait(lambda: threading.active_count() == 1 or not any("_halt" in t.name for t in threading.enumerate()))


# ------------------------------------------------------------------------------------------------ the harness


class Broken(Fault):
    number = 99
    done = "nothing"

    def run(self, lab: Lab) -> None:
        raise LookupError("planted")


class Unavailable(Broken):
    def unmet(self) -> str | None:
        return "no such service here"


class Survived(Broken):
    def run(self, lab: Lab) -> None:
        lab.notes.append(f"drew {lab.random(self).random():.6f}")


@pytest.fixture
def lab() -> Lab:
    return Lab(seed=3, brief=True, say=lambda text: None)


def test_a_fault_that_cannot_be_tried_is_not_survived(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FAIRSWEEP_REQUIRE_SERVICES", raising=False)
    broken, skipped, survived = tried(Broken(), lab), tried(Unavailable(), lab), tried(Survived(), lab)
    assert broken.verdict == "not survived" and "LookupError: planted" in broken.violations[0]
    assert (skipped.verdict, skipped.reason) == ("skipped", "no such service here")
    assert survived.verdict == "survived" and not survived.violations
    summary = document([broken, skipped, survived], seed=3, seconds=1.0)
    assert (summary["ok"], summary["not_survived"], summary["skipped"], summary["survived"]) == (False, 1, 1, 1)
    assert document([skipped, survived], seed=3, seconds=1.0)["ok"]
    monkeypatch.setenv("FAIRSWEEP_REQUIRE_SERVICES", "1")
    assert tried(Unavailable(), lab).verdict == "not survived"


def test_moments_follow_from_the_seed_alone(lab: Lab) -> None:
    first = tried(Survived(), lab).notes
    tried(Broken(), lab)
    assert tried(Survived(), lab).notes == first
    assert tried(Survived(), Lab(seed=4, brief=True, say=lambda text: None)).notes != first


def test_every_kind_of_fault_is_there() -> None:
    faults = load_faults()
    assert {fault.number for fault in faults.values()} == set(range(1, 14))
    assert any(fault.in_ci for fault in faults.values())
    assert all(name == fault.name and fault.done for name, fault in faults.items())


def test_an_unknown_fault_is_refused_and_all_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["no-such-fault"]) == 2
    assert "there is no fault no-such-fault. Valid:" in capsys.readouterr().err
    assert main(["--list"]) == 0
    assert set(load_faults()) <= set(capsys.readouterr().out.split())
