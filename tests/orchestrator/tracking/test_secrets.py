"""Secrets of the environment turn up nowhere: not in what a sweep prints, stores, logs or sends, even where an error is full of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from click.testing import CliRunner

from orchestrator.cli import cli
from orchestrator.tracking.records import RunReader
from tests.services.postgres import Postgres
from tests.services.tracking_server import TrackingServer
from trainers.outcomes import OutcomeStore

PLANTED = {
    "AWS_SECRET_ACCESS_KEY": "planted/aws+Secret/0aB=",
    "HF_TOKEN": "hf_planted_0aBcDeFgHiJ",
    "RAY_AUTH_TOKEN": "planted-ray-0aBcDeFgHiJ",
    "DATABASE_URL": "postgresql://me:planted-database-0aB@127.0.0.1/nowhere",
}
SECRETS = [*(value for name, value in PLANTED.items() if name != "DATABASE_URL"), "planted-database-0aB"]
SHOWN = "cannot reach https://***@host"
SWEEP = """
name: secrets
model: micro-llama
tasks: [squad]
data: {source: embedded, train: 4, selection: 2, test: 2}
methods:
  lora: {rank: 2}
  leaky: {rank: 2}
grid: {learning_rate: [1.0e-2]}
training: {steps: 2, batch_size: 2, max_length: 64, max_new_tokens: 2}
seeds: {select: [100], report: [0]}
resources: {cpus: 1}
"""
LEAKY = '''
"""A method that fails and says all it knows, as a library does that cannot log in."""

import logging
import os
import sys

from trainers.adapters.pairs import PairMethod
from trainers.api import MethodCard, Setting


class Leaky(PairMethod):
    """Fails at its first step."""

    card = MethodCard(
        name="leaky",
        family="low-rank",
        reference="none",
        source="this test",
        capacity=("rank",),
        settings={"alpha": Setting(16.0, doc="numerator of the scaling")},
        trains_at_start=("up.*",),
        exports_lora=True,
    )

    def before_step(self, step: int, steps: int) -> None:
        """Fail."""
        me, password = os.environ["MLFLOW_TRACKING_USERNAME"], os.environ["MLFLOW_TRACKING_PASSWORD"]
        raise RuntimeError(f"cannot reach https://{me}:{password}@host/x?token={password} from {dict(os.environ)}, padding: {'x' * 4000}")


METHOD = Leaky
'''


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """A folder with the leaky method as an installed package."""
    metadata = tmp_path / "site" / "leaky-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: leaky\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[fairsweep.methods]\nleaky = leaky:METHOD\n")
    (tmp_path / "site" / "leaky.py").write_text(LEAKY)
    return tmp_path / "site"


def command(*arguments: str) -> str:
    """What a command answers, run in this process: a new one costs seconds of imports each time."""
    done = CliRunner().invoke(cli, list(arguments), prog_name="fairsweep")
    assert done.exit_code == 0, done.output
    return str(done.stdout)


def texts_below(folder: Path) -> Iterator[tuple[str, str]]:
    """Every file below a folder, as its path and its bytes taken for characters."""
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            yield str(path), path.read_bytes().decode("latin-1")


def assert_nowhere(secrets: list[str], where: str, text: str) -> None:
    for secret in secrets:
        assert secret not in text, f"{secret} is in {where}: ...{text[max(0, text.index(secret) - 200) : text.index(secret) + 20]}"


@pytest.fixture
def ray_folder() -> Iterator[Path]:
    """A folder for Ray's files, whose path is short, since its sockets lie below it."""
    with TemporaryDirectory(prefix="fs-", dir="/tmp") as folder:
        yield Path(folder)


@pytest.mark.services
def test_a_sweep_with_a_failing_trial_leaks_no_secret(
    server: TrackingServer, postgres: Postgres, site: Path, ray_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in os.environ if name.startswith(("RAY_", "MLFLOW_"))]:
        monkeypatch.delenv(name)
    variables = {**PLANTED, **server.credentials, "MLFLOW_TRACKING_URI": server.uri, "RAY_TMPDIR": str(ray_folder)}
    for name, value in {**variables, "PYTHONPATH": str(site)}.items():
        monkeypatch.setenv(name, value)
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    run = [sys.executable, "-m", "orchestrator.cli", "--debug", "run", "sweep.yaml", "--json"]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True, timeout=400, check=False)
    assert done.returncode == 1, done.stderr[-3000:]
    failed = next(record for record in RunReader(server.uri).runs("secrets") if record.status == "error")
    shown = {form: command("leaderboard", "secrets", "--format", form) for form in ("json", "md", "csv", "table")}
    shown |= {"show": command("show", failed.run_id), "stdout": done.stdout, "stderr": done.stderr}
    assert SHOWN in shown["show"] and "leaky" in shown["md"]
    files = [file for folder in (tmp_path, Path(server.artifacts), ray_folder) for file in texts_below(folder)]
    assert sum(SHOWN in text for _, text in files) >= 2, "the error is neither in the storage nor among the artifacts"
    dump = postgres.dump("mlflow")
    assert SHOWN in dump
    secrets = [*SECRETS, server.credentials["MLFLOW_TRACKING_PASSWORD"]]
    for where, text in [*shown.items(), *files, ("MLflow's database", dump), ("MLflow's log", server.log_text())]:
        assert_nowhere(secrets, where, text)


def test_what_is_recorded_of_an_error_names_no_secret(
    store: OutcomeStore, finished: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", PLANTED["HF_TOKEN"])
    error = f"401 for {PLANTED['HF_TOKEN']} at https://me:secret@host"
    outcome = store.read(finished(outcome={"status": "error", "error": error}))
    assert outcome is not None and outcome.error == "401 for *** at https://***@host"


SERVER, DATABASE = "http://me:planted-uri-0aB@127.0.0.1:9", "postgresql://me:planted-uri-0aB@127.0.0.1:9/none"
BUCKETS = ("s3://me:planted-uri-0aB@bucket/sweeps", "s3://bucket/sweeps?secret_key=planted-uri-0aB")


@pytest.mark.parametrize("debug", [(), ("--debug",)])
@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("leaderboard", "--tracking-uri", SERVER), "set MLFLOW_TRACKING_USERNAME"),
        (("run", "sweep.yaml", "--tracking-uri", SERVER), "set MLFLOW_TRACKING_USERNAME"),
        (("leaderboard", "--tracking-uri", DATABASE), "postgresql://***@127.0.0.1:9/none does not answer"),
        *((("run", "sweep.yaml", "--tracking-uri", "sqlite:///none.db", "--storage", bucket), "holds a credential") for bucket in BUCKETS),
    ],
)
def test_a_password_in_a_uri_is_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, debug: tuple[str, ...], arguments: tuple[str, ...], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    # MLflow tries a database for 100 seconds.
    monkeypatch.setattr("mlflow.store.db.utils.MAX_RETRY_COUNT", 1)
    (tmp_path / "sweep.yaml").write_text(SWEEP.replace("  leaky: {rank: 2}\n", ""))
    done = CliRunner().invoke(cli, [*debug, *arguments], prog_name="fairsweep")
    assert done.exit_code == 2 and said in done.stderr
    assert_nowhere(["planted-uri-0aB"], "the messages", done.output)
