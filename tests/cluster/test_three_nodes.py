"""The three-node cluster of `cluster/README.md`, by the commands that it shows: a sweep of groups loses a node and finishes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.required import required

README = Path(__file__).parents[2] / "cluster" / "README.md"
ALONE = ["unshare", "--user", "--map-root-user", "--net", "--pid", "--fork", "--kill-child", "--mount-proc"]
"""The README's own `unshare`, and with it process ids that end together."""
SWEEP = """
name: three-nodes
model: micro-llama
tasks: [squad]
data: {source: embedded, train: 12, selection: 4, test: 4}
methods: {lora: {rank: [2]}}
targets: [q, v]
grid: {learning_rate: [1.0e-3, 1.0e-2]}
training: {steps: 40, batch_size: 4, max_length: 220, max_new_tokens: 4, checkpoint: {best: loss, evaluations: 2}}
seeds: {select: [100], report: [0, 1]}
"""
TRIALS = 5
OUTCOMES = "sweeps/three-nodes/outcomes/*/outcome.json"
WAIT = "until ls sweeps/*/outcomes/*/outcome.json >wait.log 2>&1; do fairsweep status three-nodes >wait.log || break; sleep 1; done"


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder with a short name: the path of a Unix socket has at most 107 characters."""
    made = Path(tempfile.mkdtemp(prefix="fs3-", dir="/tmp"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


def documented() -> str:
    """Return the README's commands, with a small sweep in place of the quickstart; the node goes as soon as something has finished."""
    section = README.read_text().partition("## Three nodes on one machine")[2]
    opening, commands = re.findall(r"```bash\n(.*?)```", section, re.DOTALL)
    assert opening.split() == ["unshare", "--user", "--map-root-user", "--net", "bash"]
    replaced = (
        commands.replace("submit quickstart", "submit sweep.yaml").replace("-f quickstart", "-f three-nodes").replace("sleep 60", WAIT)
    )
    assert replaced.count("sweep.yaml") == 1 and WAIT in replaced and "-f three-nodes" in replaced
    return replaced


@pytest.mark.services
def test_the_documented_commands_run_a_sweep_that_loses_a_node(folder: Path) -> None:
    alone = subprocess.run([*ALONE, "ip", "link", "set", "lo", "up"], capture_output=True, check=False)
    required(alone.returncode == 0, f"unshare and ip are not to be had here: {alone.stderr!r}")
    (folder / "sweep.yaml").write_text(SWEEP)
    (folder / "commands.sh").write_text("set -eu\n" + documented())
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_"))}
    path = os.pathsep.join([str(Path(sys.executable).parent), clean["PATH"]])
    environment = {**clean, "PATH": path, "HOME": str(folder), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        [*ALONE, "bash", "commands.sh"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=1200)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=30)
    logs = "".join(f"\n--- {file.name}\n{file.read_text(errors='replace')[-1500:]}" for file in folder.glob("*.log"))
    assert f"{TRIALS} of {TRIALS} trials finished, 0 failed" in output, output + logs
    assert len(list((folder / "sweeps" / "three-nodes" / "outcomes").glob("[!.]*/outcome.json"))) == TRIALS
