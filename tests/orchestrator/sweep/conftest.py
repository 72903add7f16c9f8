from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

SWEEP = """
name: micro
model: micro-llama
tasks: [squad]
data: {source: embedded, train: 12, selection: 4, test: 4}
methods:
  lora: {rank: [2]}
  lorta: {rank: [2]}
targets: [q, v]
grid: {learning_rate: [1.0e-3, 1.0e-2]}
training: {steps: 10, batch_size: 4, max_length: 220, max_new_tokens: 4, checkpoint: {best: loss, evaluations: 1}}
seeds: {select: [100], report: [0, 1]}
resources: {cpus: CPUS}
""".replace("CPUS", str(min(2, os.cpu_count() or 1)))
# One member of the fleet with all cores: a second one costs more to start than it gains on nine tiny trials.


@dataclass
class Workplace:
    """A folder in which a user types commands."""

    folder: Path

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "orchestrator.cli", *arguments]

    def environment(self, **extra: str) -> dict[str, str]:
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("RAY_", "MLFLOW_", "TUNE_"))}
        return {**clean, "MLFLOW_DISABLE_TELEMETRY": "true", **extra}

    def run(self, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment(**extra),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def outcomes(self) -> dict[str, dict[str, Any]]:
        """Outcomes on disk by trial id, without what differs from run to run."""
        root = self.folder / "fairsweep" / "sweeps" / "micro" / "outcomes"
        found = {}
        for file in root.glob("[!.]*/outcome.json"):
            content = json.loads(file.read_text())
            found[content["trial_id"]] = {
                k: content[k] for k in ("status", "metrics", "curves", "best_step", "usage", "data_digests", "counts")
            }
        return found


@pytest.fixture
def workplace(tmp_path: Path) -> Workplace:
    (tmp_path / "sweep.yaml").write_text(SWEEP)
    return Workplace(tmp_path)


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Workplace, dict[str, Any]]:
    """A sweep that ran from beginning to end, and what it printed."""
    place = Workplace(tmp_path_factory.mktemp("undisturbed"))
    (place.folder / "sweep.yaml").write_text(SWEEP)
    return place, place.json("run", "sweep.yaml", "--json")


@pytest.fixture
def ended() -> Iterator[Callable[[subprocess.Popen[str]], subprocess.Popen[str]]]:
    """Makes sure that a started process and its session are gone at the end of the test."""
    started: list[subprocess.Popen[str]] = []

    def remember(process: subprocess.Popen[str]) -> subprocess.Popen[str]:
        started.append(process)
        return process

    yield remember
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
