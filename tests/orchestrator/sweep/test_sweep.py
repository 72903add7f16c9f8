"""A sweep as its user sees it: real Ray, real DeepSpeed, real MLflow, a micro model."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.tracking.connection import connect

Ended = Callable[[subprocess.Popen[str]], subprocess.Popen[str]]


def live_runs(folder: Path) -> Counter[str]:
    """Number of live MLflow runs by trial id."""
    client = connect(f"sqlite:///{folder}/fairsweep/mlflow.db")
    experiment = client.get_experiment_by_name("fairsweep/micro")
    assert experiment is not None
    runs = client.search_runs([experiment.experiment_id], "tags.`fairsweep.kind` = 'trial'", max_results=1000)
    return Counter(run.data.tags["fairsweep.trial"] for run in runs)


def wait_for(condition: Callable[[], bool], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)


def test_a_sweep_prints_one_document_with_board_and_certificate(undisturbed: tuple[Any, dict[str, Any]]) -> None:
    place, printed = undisturbed
    assert (printed["trials"], printed["finished"], printed["failed"], printed["skipped"]) == (9, 9, 0, 0)
    assert printed["certificate"]["ok"] and len(printed["certificate"]["rules"]) == 13
    rows = {row["method"]: row for row in printed["leaderboard"]}
    assert set(rows) == {"base", "lora", "lorta"}
    assert rows["lora"]["trainable"] == 2 * 2 * 2 * (16 + 16) and rows["lorta"]["trainable"] == (16 + 4 + 4 + 2 + 2) * 2
    for name in ("lora", "lorta"):
        score = rows[name]["tasks"]["squad"]
        assert score["seeds"] == score["finished"] == 2 and score["selected"]["learning_rate"] in (1e-3, 1e-2)
        assert len(rows[name]["runs"]) == 2
    assert printed["wall_seconds"] >= printed["longest_pause_seconds"] > 0
    time = printed["time"]
    assert sum(time["seconds"].values()) == pytest.approx(time["workers"] * time["wall_seconds"], rel=0.02)
    assert all(time["seconds"][part] > 0 for part in ("start", "train", "evaluate", "swap")) and 0 < time["busy"] <= 1
    assert sum(time["shares"].values()) == pytest.approx(1)
    assert live_runs(place.folder) == Counter(dict.fromkeys(place.outcomes(), 1))


def test_the_board_can_be_read_again_from_mlflow_alone(undisturbed: tuple[Any, dict[str, Any]]) -> None:
    place, printed = undisturbed
    assert place.json("leaderboard", "micro", "--format", "json")["rows"] == printed["leaderboard"]
    audited = place.json("audit", "micro", "--json")
    assert audited["ok"] and not audited["missing"]
    assert len(place.json("runs", "micro", "--json")) == 9
    run = printed["leaderboard"][-1]["runs"][0]
    assert place.json("show", run, "--json")["run_id"] == run


def test_where_the_time_went_is_an_artifact_of_the_sweep_run(undisturbed: tuple[Any, dict[str, Any]]) -> None:
    place, printed = undisturbed
    client = connect(f"sqlite:///{place.folder}/fairsweep/mlflow.db")
    run = client.search_runs([printed["experiment_id"]], "tags.`fairsweep.kind` = 'sweep'")[0]
    kept = Path(client.download_artifacts(run.info.run_id, "time.json", str(place.folder)))
    document = json.loads(kept.read_text())
    assert document["seconds"]["train"] == pytest.approx(printed["time"]["seconds"]["train"])
    assert document["wall_seconds"] <= printed["time"]["wall_seconds"]


def test_loss_curves_are_recorded_per_step(undisturbed: tuple[Any, dict[str, Any]]) -> None:
    place, printed = undisturbed
    run = next(row for row in printed["leaderboard"] if row["method"] == "lora")["runs"][0]
    history = connect(f"sqlite:///{place.folder}/fairsweep/mlflow.db").get_metric_history(run, "train/loss")
    assert [point.step for point in history] == list(range(1, 11))


def test_running_again_trains_nothing(undisturbed: tuple[Any, dict[str, Any]]) -> None:
    place, printed = undisturbed
    before = {p: p.stat().st_mtime_ns for p in (place.folder / "fairsweep" / "sweeps").rglob("outcome.json")}
    again = place.json("run", "sweep.yaml", "--json")
    assert (again["skipped"], again["train_seconds"]) == (9, 0)
    assert again["leaderboard"] == printed["leaderboard"]
    assert before == {p: p.stat().st_mtime_ns for p in (place.folder / "fairsweep" / "sweeps").rglob("outcome.json")}


def test_another_storage_takes_the_outcomes_from_mlflow(undisturbed: tuple[Any, dict[str, Any]]) -> None:
    place, _ = undisturbed
    again = place.json("run", "sweep.yaml", "--json", "--storage", "elsewhere")
    assert again["skipped"] == 9 and again["train_seconds"] == 0


def test_a_driver_that_is_stopped_and_killed_continues_with_the_same_numbers(
    workplace: Any, undisturbed: tuple[Any, dict[str, Any]], ended: Ended
) -> None:
    for number, outcomes in ((signal.SIGINT, 1), (signal.SIGKILL, 2), (signal.SIGTERM, 4)):
        process = ended(workplace.start("run", "sweep.yaml"))
        wait_for(lambda enough=outcomes: len(workplace.outcomes()) >= enough)  # type: ignore[misc]
        os.kill(process.pid, number)
        _, errors = process.communicate(timeout=120)
        if number != signal.SIGKILL:
            assert process.returncode == 130, errors
            assert "To continue, run:" in errors and "run sweep.yaml" in errors and "Traceback" not in errors
    kept = set(workplace.outcomes())
    printed = workplace.json("run", "sweep.yaml", "--json")
    assert printed["finished"] == 9 and printed["skipped"] == len(kept) < 9
    assert workplace.outcomes() == undisturbed[0].outcomes()
    assert live_runs(workplace.folder) == Counter(dict.fromkeys(workplace.outcomes(), 1))


def test_a_second_driver_is_refused_and_a_killed_worker_costs_no_trial(
    workplace: Any, undisturbed: tuple[Any, dict[str, Any]], ended: Ended
) -> None:
    process = ended(workplace.start("run", "sweep.yaml", "--json"))
    wait_for((workplace.folder / "fairsweep" / "sweeps" / "micro" / "driver.json").exists)
    second = workplace.run("run", "sweep.yaml")
    assert second.returncode == 2 and f"process {process.pid}" in second.stderr
    wait_for(lambda: len(workplace.outcomes()) >= 1)
    members = [p for p in psutil.Process(process.pid).children(recursive=True) if "Member" in " ".join(p.cmdline())]
    assert members
    members[0].kill()
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 0, errors
    assert json.loads(output)["finished"] == 9
    assert workplace.outcomes() == undisturbed[0].outcomes()


def test_a_diverged_trial_is_named_and_the_sweep_goes_on(workplace: Any) -> None:
    overrides = [
        "--set",
        "methods={full: {}}",
        "--set",
        "grid.learning_rate=[1.0e30]",
        "--set",
        "training.clip=null",
        "--set",
        "training.steps=6",
    ]
    done = workplace.run("run", "sweep.yaml", "--json", *overrides)
    assert done.returncode == 1, done.stderr
    printed = json.loads(done.stdout)
    assert printed["failed"] == 3 and printed["finished"] == 1
    assert "diverged" in done.stderr and "Traceback" not in done.stderr
    row = next(row for row in printed["leaderboard"] if row["method"] == "full")
    assert row["failures"] == 2


def test_a_tracking_server_that_is_away_costs_nothing_but_the_delivery(workplace: Any, undisturbed: tuple[Any, dict[str, Any]]) -> None:
    shutil.copytree(undisturbed[0].folder / "fairsweep" / "sweeps", workplace.folder / "fairsweep" / "sweeps")
    away = workplace.run("run", "sweep.yaml", "--json", "--tracking-uri", "http://127.0.0.1:9", FAIRSWEEP_DELIVERY_SECONDS="1")
    assert away.returncode == 0 and "run the same command again" in away.stderr, away.stderr
    assert json.loads(away.stdout)["leaderboard"] == []
    later = workplace.json("run", "sweep.yaml", "--json")
    assert later["skipped"] == 9 and later["train_seconds"] == 0 and len(later["leaderboard"]) == 3
    assert live_runs(workplace.folder) == Counter(dict.fromkeys(workplace.outcomes(), 1))


def test_a_run_on_a_terminal_shows_progress_and_ends_well(workplace: Any, ended: Ended) -> None:
    terminal, side = os.openpty()
    overrides = ["--set", "methods={lora: {rank: [2]}}", "--set", "grid.learning_rate=[1.0e-2]", "--set", "seeds.report=[0]"]
    command = workplace.command("run", "sweep.yaml", "--json", *overrides)
    process = ended(
        subprocess.Popen(
            command, cwd=workplace.folder, env=workplace.environment(TERM="xterm"), stdout=subprocess.PIPE, stderr=side, text=True
        )
    )
    os.close(side)
    shown = b""
    with suppress(OSError):  # a terminal whose last writer has gone reads as an error
        while part := os.read(terminal, 65536):
            shown += part
    os.close(terminal)
    assert process.stdout is not None
    assert json.loads(process.stdout.read())["finished"] == 3
    assert process.wait(timeout=30) == 0, shown.decode()
    assert b"of 3 trials" in shown and b"Traceback" not in shown and b"Exception" not in shown
