"""What is submitted to a cluster, and what is refused before anything is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from cluster.job_server import JobsError
from cluster.jobs import Jobs
from cluster.places import SubmissionError, check_places, check_travel
from cluster.submit import PACKAGES, Submission, pack, runtime_env
from orchestrator.catalog import InstalledCatalog
from orchestrator.cli import cli
from orchestrator.plan import load_plan
from search_spaces.loading import dump_spec

PLANTED = "planted-secret-3141"
PLACES = ("--storage", "/shared/sweeps", "--tracking-uri", "http://mlflow:5000")
SWEEP = """
name: micro
model: micro-llama
tasks: [squad]
data: {source: embedded, train: 8, selection: 4, test: 4}
methods: {lora: {rank: [2]}}
targets: [q, v]
grid: {learning_rate: [1.0e-3]}
training: {steps: 2, batch_size: 4, max_length: 220, max_new_tokens: 4, checkpoint: {best: loss, evaluations: 1}}
seeds: {select: [100], report: [0]}
"""


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    file = tmp_path / "micro.yaml"
    file.write_text(SWEEP)
    return file


def invoke(*arguments: str) -> Any:
    return CliRunner().invoke(
        cli, list(arguments), prog_name="fairsweep", env={"MLFLOW_TRACKING_URI": None, "RAY_API_SERVER_ADDRESS": None}
    )


def refused(done: Any, *words: str) -> None:
    assert done.exit_code == 2 and not done.stdout and "Traceback" not in done.stderr, done.output
    assert len(done.stderr.splitlines()) == 1 and all(word in done.stderr for word in words), done.stderr


@pytest.mark.parametrize(
    "storage",
    [
        "/shared/sweeps",
        "s3://bucket/sweeps",
        "s3://bucket/sweeps?region=eu-west-1&scheme=http",
        "file:///shared",
        "abfs://box@account.host/x",
    ],
)
def test_storage_that_nodes_share_is_taken(storage: str) -> None:
    check_places(storage, "http://mlflow:5000")


@pytest.mark.parametrize(
    ("storage", "tracking_uri", "words"),
    [
        (None, "http://mlflow:5000", ("submit needs storage", "--storage", "s3://")),
        ("fairsweep/sweeps", "http://mlflow:5000", ("'fairsweep/sweeps' is relative", "absolute path")),
        (f"s3://key:{PLANTED}@bucket/sweeps", "http://mlflow:5000", ("--storage holds a user name or password", "AWS_ACCESS_KEY_ID")),
        (f"abfs://box:{PLANTED}@account.host/x", "http://mlflow:5000", ("--storage holds a user name or password",)),
        (f"s3://bucket/sweeps?secret_key={PLANTED}", "http://mlflow:5000", ("--storage holds a secret (secret_key)",)),
        ("/shared", None, ("submit needs a tracking server", "--tracking-uri http://")),
        ("/shared", "sqlite:///mlflow.db", ("'sqlite:///mlflow.db' is not a server", "--tracking-uri http://")),
        ("/shared", "/home/me/mlruns", ("is not a server",)),
        ("/shared", f"http://me:{PLANTED}@mlflow:5000", ("--tracking-uri holds a user name or password", "MLFLOW_TRACKING_PASSWORD")),
        ("/shared", f"postgresql://me:{PLANTED}@db/mlflow", ("--tracking-uri holds a user name or password",)),
    ],
)
def test_places_that_the_nodes_do_not_share_or_that_hold_a_secret_are_refused(
    storage: str | None, tracking_uri: str | None, words: tuple[str, ...]
) -> None:
    with pytest.raises(SubmissionError) as caught:
        check_places(storage, tracking_uri)
    message = str(caught.value)
    assert all(word in message for word in (*words, "Fix:")) and PLANTED not in message


def test_the_command_refuses_with_exit_code_2_and_before_it_looks_at_the_cluster(spec: Path) -> None:
    refused(invoke("submit", str(spec)), "submit needs storage")
    done = invoke("submit", str(spec), "--set", "methods.lora.rank=[0]", "--set", "grid.unknown=[1]", *PLACES)
    assert done.exit_code == 2 and "2 faults" in done.stderr and "grid.unknown" in done.stderr


@pytest.mark.parametrize("command", [("status",), ("logs", "x"), ("stop", "x")])
def test_a_cluster_that_does_not_answer_is_one_clear_error(command: tuple[str, ...]) -> None:
    refused(invoke(*command, "--address", "http://127.0.0.1:9"), "no Ray dashboard answers at http://127.0.0.1:9", "ssh -N -L 9:")
    refused(invoke(*command, "--address", "127.0.0.1:6379"), "is not the URL of a Ray dashboard", "http://127.0.0.1:8265")
    refused(invoke(*command, "--address", f"http://me:{PLANTED}@127.0.0.1:9"), "holds a user name or password")


def test_a_missing_extra_is_one_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    monkeypatch.setattr("cluster.job_server.asks_for_a_token", lambda address: True)
    with pytest.raises(JobsError, match=r"not installed.*pip install 'fairsweep\[cluster\]'"):
        Jobs("http://127.0.0.1:9")


def test_data_and_models_of_this_machine_are_refused(spec: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (trial, *_) = load_plan(spec, InstalledCatalog()).trials
    elsewhere = trial.model_copy(update={"data": trial.data.model_copy(update={"source": "data/mine"})})
    with pytest.raises(SubmissionError, match="data.source 'data/mine'"):
        check_travel([trial, elsewhere])
    monkeypatch.chdir(tmp_path)
    Path("weights").mkdir()
    local = trial.model_copy(update={"model": trial.model.model_copy(update={"id": "weights"})})
    with pytest.raises(SubmissionError, match="model 'weights'"):
        check_travel([local])
    shared = trial.model_copy(update={"data": trial.data.model_copy(update={"source": "/shared/data"})})
    check_travel([trial, shared])


def test_what_travels_is_the_code_that_is_imported_here_and_the_sweep_file(spec: Path, tmp_path: Path) -> None:
    made = load_plan(spec, InstalledCatalog(), ["grid.learning_rate=[1.0e-3, 1.0e-2]"])
    folder = tmp_path / "packed"
    pack(folder, dump_spec(made.spec))
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert {path.name for path in folder.iterdir()} == {*PACKAGES, "sweep.yaml"}
    assert sum(path.stat().st_size for path in files) < 5 * 2**20
    assert not [path for path in files if path.suffix in (".pyc", ".safetensors", ".gguf", ".parquet", ".arrow", ".db", ".log")]
    # Alone, it plans the same sweep: the job on the cluster finds what it needs, and gives the trials the same ids.
    code = "import orchestrator, trainers, cluster, search_spaces, sys; from orchestrator.plan import load_plan\n"
    code += "from orchestrator.catalog import InstalledCatalog\n"
    code += (
        "print(*(m.__file__ for m in (orchestrator, trainers, cluster, search_spaces)), load_plan('sweep.yaml', InstalledCatalog()).digest)"
    )
    environment = {**os.environ, "PYTHONPATH": str(folder)}
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, env=environment, capture_output=True, text=True, check=True)
    *where, digest = done.stdout.split()
    assert all(file.startswith(str(folder)) for file in where) and digest == made.digest


def test_a_job_carries_nothing_of_this_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN", "RAY_AUTH_TOKEN"):
        monkeypatch.setenv(name, PLANTED)
    submission = Submission("micro", "d" * 64, "name: micro", "/shared/a folder", "http://mlflow:5000", retry_failed=True)
    assert PLANTED not in repr((submission, submission.entrypoint(), submission.job(2), runtime_env("/tmp/x")))
    assert submission.entrypoint().endswith("--storage '/shared/a folder' --tracking-uri http://mlflow:5000 --retry-failed")
    assert submission.job(2).job == "fairsweep-micro-dddddddddddd-2"
