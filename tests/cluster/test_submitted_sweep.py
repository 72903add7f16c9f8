"""A sweep as a job on a real Ray cluster that asks for a token, recorded by a real tracking server that asks for a password."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.services.ray_nodes import RayNodes
from tests.services.tracking_server import TrackingServer

pytestmark = pytest.mark.services

TOKEN = "7c1f" * 16
PLANTED = "planted-secret-2718"
SWEEP = """
name: NAME
model: micro-llama
tasks: [squad]
data: {source: embedded, train: 12, selection: 4, test: 4}
methods: {lora: {rank: [2, 4]}}
targets: [q, v]
grid: {learning_rate: [1.0e-3, 1.0e-2]}
training: {steps: STEPS, batch_size: 4, max_length: 220, max_new_tokens: 4, checkpoint: {best: loss, evaluations: 2}}
seeds: {select: [100], report: [0, 1]}
resources: {cpus: 1}
"""
TRIALS = 9
FAIRSWEEP = [
    sys.executable,
    "-c",
    # A shell that started the tests in the background would have Ctrl-C ignored.
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from orchestrator.cli import main; main()",
]


@dataclass
class Site:
    """A cluster, a tracking server, and a folder that both sides share."""

    nodes: RayNodes
    server: TrackingServer
    folder: Path

    def environment(self, **changes: str | None) -> dict[str, str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
        planted = dict.fromkeys(("MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY", "HF_TOKEN"), PLANTED)
        mine = {"HOME": str(self.folder), "RAY_AUTH_TOKEN": TOKEN, "RAY_API_SERVER_ADDRESS": self.nodes.dashboard, **planted}
        return {name: value for name, value in {**clean, **mine, **changes}.items() if value is not None}

    def run(self, *arguments: str, **changes: str | None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*FAIRSWEEP, *arguments],
            cwd=self.folder,
            env=self.environment(**changes),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [*FAIRSWEEP, *arguments],
            cwd=self.folder,
            env=self.environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def sweep(self, name: str, steps: int) -> list[str]:
        """Return the arguments that submit a sweep."""
        file = self.folder / f"{name}.yaml"
        file.write_text(SWEEP.replace("NAME", name).replace("STEPS", str(steps)))
        return ["submit", str(file), "--storage", str(self.folder / "sweeps"), "--tracking-uri", self.server.uri]

    def finished(self, name: str) -> dict[str, bytes]:
        """Return the Outcomes of a sweep as they are on disk."""
        return {file.parent.name: file.read_bytes() for file in (self.folder / "sweeps" / name / "outcomes").glob("[!.]*/outcome.json")}

    def jobs(self) -> Any:
        answer = requests.get(f"{self.nodes.dashboard}/api/jobs/", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30)
        answer.raise_for_status()
        return answer.json()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("site")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    with TrackingServer(f"sqlite:///{folder}/mlflow.db") as server:
        environment = {"PATH": path, "OMP_NUM_THREADS": "1", "FAIRSWEEP_CACHE": str(folder / "cache"), **server.credentials}
        with RayNodes(1, cpus_each=1, dashboard=True, token=TOKEN, environment=environment, namespaces=False) as nodes:
            yield Site(nodes, server, folder)


def wait_for(what: Callable[[], Any], seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.2)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"RAY_AUTH_TOKEN": None}, ("asks for a token, and there is none here", "RAY_AUTH_TOKEN_PATH")),
        ({"RAY_AUTH_TOKEN": None, "RAY_AUTH_TOKEN_PATH": "/nowhere"}, ("asks for a token, and there is none here", "RAY_AUTH_TOKEN_PATH")),
        ({"RAY_AUTH_TOKEN": "0" * 64}, ("refuses this token",)),
        ({"RAY_AUTH_MODE": "disabled"}, ("RAY_AUTH_MODE=disabled", "unset RAY_AUTH_MODE")),
    ],
)
def test_without_the_clusters_token_nothing_is_submitted(site: Site, changes: dict[str, str | None], words: tuple[str, ...]) -> None:
    done = site.run(*site.sweep("refused", 2), **changes)
    assert done.returncode == 2 and not done.stdout and all(word in done.stderr for word in (*words, "Fix:")), done.stderr
    assert len(done.stderr.splitlines()) == 1 and TOKEN not in done.stderr
    assert not [job for job in site.jobs() if "refused" in str(job["metadata"])]


def test_a_token_file_in_the_home_folder_serves(site: Site) -> None:
    file = site.folder / ".ray" / "auth_token"
    file.parent.mkdir()
    file.write_text(TOKEN)
    try:
        assert site.run("status", "--json", RAY_AUTH_TOKEN=None).returncode == 0
    finally:
        file.unlink()


def test_submit_stop_and_submit_again(site: Site) -> None:
    arguments = site.sweep("stopped", 120)
    first = site.run(*arguments)
    assert first.returncode == 0, first.stderr
    job = first.stdout.strip()
    assert job.startswith("fairsweep-stopped-") and job.endswith("-1")

    again = json.loads(site.run(*arguments, "--json").stdout)
    assert again["job"] == job and again["submitted"] is False, "a second driver was started"
    other = site.run(*arguments, "--set", "grid.learning_rate=[1.0e-4]")
    assert other.returncode == 2 and "another version of sweep 'stopped'" in other.stderr

    wait_for(lambda: site.finished("stopped"))
    shown = json.loads(site.run("status", "stopped", "--json").stdout)
    assert (shown["job"], shown["status"], shown["attempt"]) == (job, "RUNNING", 1)
    stopped = site.run("stop", "stopped")
    assert stopped.returncode == 0 and "is STOPPED" in stopped.stdout and "saves and ends" in stopped.stderr, stopped.stderr
    before = site.finished("stopped")
    assert 0 < len(before) < TRIALS
    # It saved: the driver's own words, which a kill would not have left it the time for.
    assert "interrupted; what has finished is saved" in site.run("logs", job).stdout
    assert "had ended before" in site.run("stop", job).stdout

    whole = site.run(*arguments, "--wait", "--json")
    assert whole.returncode == 0, whole.stderr
    ended = json.loads(whole.stdout)
    assert (ended["status"], ended["attempt"], ended["exit_code"]) == ("SUCCEEDED", 2, 0)
    after = site.finished("stopped")
    assert len(after) == TRIALS and before.items() <= after.items(), "what had finished was trained again"

    text = site.run("logs", "-f", "stopped").stdout
    assert f"{TRIALS} of {TRIALS} trials finished, {len(before)} of them before this run, 0 failed" in text
    known = json.dumps(site.jobs()) + text + site.run("logs", job).stdout + site.run("status", "--json").stdout
    secrets = (PLANTED, TOKEN, site.server.credentials["MLFLOW_TRACKING_PASSWORD"])
    assert not [secret for secret in secrets if secret in known], "a secret shows"


def test_ctrl_c_leaves_the_job_running_and_says_so(site: Site) -> None:
    arguments = site.sweep("followed", 120)
    assert site.run(*arguments).returncode == 0
    following = site.start("logs", "-f", "followed")
    assert following.stdout is not None
    following.stdout.readline()
    following.send_signal(signal.SIGINT)
    _, errors = following.communicate(timeout=300)
    assert following.returncode == 130 and "goes on" in errors and "fairsweep stop" in errors, errors
    assert json.loads(site.run("status", "followed", "--json").stdout)["status"] in ("PENDING", "RUNNING")
    assert site.run("stop", "followed").returncode == 0


def test_a_driver_that_fails_gives_its_exit_code(site: Site) -> None:
    arguments = site.sweep("broken", 2)
    done = site.run(*arguments, "--set", "resources.cpus=64", "--wait")
    assert done.returncode == 2 and "a trial needs 64 CPU" in done.stderr, done.stderr
    shown = site.run("status", "broken")
    assert shown.returncode == 1 and "FAILED" in shown.stdout
    assert site.run("status").returncode == 0


def test_an_unknown_job_is_named_with_what_there_is(site: Site) -> None:
    for command in ("status", "logs", "stop"):
        done = site.run(command, "nothing-like-it")
        assert done.returncode == 2 and "'nothing-like-it'" in done.stderr and "Traceback" not in done.stderr
