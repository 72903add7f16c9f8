"""`slurm.sh` run for real, on raylets of this machine: only Slurm's own commands are stand-ins, which start what they are given here."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

SCRIPT = Path(__file__).parents[2] / "cluster" / "deploy" / "slurm.sh"
SWEEP = """
name: slurm
model: micro-llama
tasks: [squad]
data: {source: embedded, train: 12, selection: 4, test: 4}
methods: {lora: {rank: [2, 4]}}
targets: [q, v]
grid: {learning_rate: [1.0e-3, 1.0e-2]}
training: {steps: 60, batch_size: 4, max_length: 220, max_new_tokens: 4, checkpoint: {best: loss, evaluations: 2}}
seeds: {select: [100], report: [0, 1]}
resources: {cpus: 1}
"""
TRIALS = 9
SRUN = """#!/usr/bin/env bash
count=1
while [[ $1 == --* ]]; do
  case $1 in --ntasks=*) count=${1#*=} ;; esac
  echo "$1" >>"$STAND_INS/options"
  shift
done
pids=()
trap 'kill -TERM "${pids[@]}"' TERM
for ((number = 0; number < count; number++)); do "$@" & pids+=($!); done
for pid in "${pids[@]}"; do
  while kill -0 "$pid" 2>/dev/null; do wait "$pid"; done
done
"""
SCONTROL = """#!/usr/bin/env bash
case $1 in
  show) tr , '\\n' <<<"$3" ;;
  requeue) echo "$2" >>"$STAND_INS/requeued" ;;
esac
"""


class Job:
    """A Slurm job: the batch script on the first of its nodes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.stand_ins = folder, folder / "stand-ins"
        self._started: list[subprocess.Popen[str]] = []
        # The number makes the script's port, and the folder in /tmp.
        self.number = 700_000 + os.getpid() % 10_000
        self.temporary = f"/tmp/fairsweep-{self.number}"
        self.stand_ins.mkdir()
        for name, text in (("srun", SRUN), ("scontrol", SCONTROL)):
            (self.stand_ins / name).write_text(text)
            (self.stand_ins / name).chmod(0o755)
        (folder / "sweep.yaml").write_text(SWEEP)
        (folder / "credentials.env").write_text("FAIRSWEEP_TEST_SETTING=read\n")

    def start(self, *arguments: str, **changes: str) -> subprocess.Popen[str]:
        clean = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "MLFLOW_", "SLURM_"))}
        environment = clean | {
            "PATH": os.pathsep.join([str(self.stand_ins), str(Path(sys.executable).parent), os.environ["PATH"]]),
            "STAND_INS": str(self.stand_ins),
            "HOME": str(self.folder),
            "FAIRSWEEP_CACHE": str(self.folder / "cache"),
            "FAIRSWEEP_HEAD_IP": "127.0.0.1",
            "FAIRSWEEP_ENV_FILE": str(self.folder / "credentials.env"),
            "SLURM_JOB_ID": str(self.number),
            "SLURM_JOB_NODELIST": "node1,node2",
            "SLURM_CPUS_PER_TASK": "1",
            "OMP_NUM_THREADS": "1",
            **changes,
        }
        started = subprocess.Popen(
            ["bash", str(SCRIPT), *arguments],
            cwd=self.folder,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        self._started.append(started)
        return started

    def finished(self) -> dict[str, bytes]:
        return {file.parent.name: file.read_bytes() for file in (self.folder / "sweeps" / "slurm" / "outcomes").glob("[!.]*/outcome.json")}

    def left(self) -> list[str]:
        """Return what is left of the job: processes, and the token."""
        running = [
            process.info["cmdline"] for process in psutil.process_iter(["cmdline"]) if self.temporary in str(process.info["cmdline"])
        ]
        return [str(command)[:200] for command in running] + [str(file) for file in (self.folder / ".fairsweep").rglob("token")]

    def end(self) -> None:
        """End what still runs, and remove what is left of it."""
        for started in self._started:
            if started.poll() is None:
                root = psutil.Process(started.pid)
                for process in (*root.children(recursive=True), root):
                    process.kill()
                started.wait(timeout=30)
        shutil.rmtree(self.temporary, ignore_errors=True)


def ends(job: subprocess.Popen[str], seconds: float = 600) -> tuple[int, str, str]:
    out, errors = job.communicate(timeout=seconds)
    return job.returncode, out, errors


def wait_for(what: Callable[[], object], job: subprocess.Popen[str], seconds: float = 600) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert job.poll() is None, ends(job)
        assert time.monotonic() < end, "it did not come about in time"
        time.sleep(0.2)


@pytest.fixture
def job(tmp_path: Path) -> Iterator[Job]:
    made = Job(tmp_path)
    try:
        yield made
    finally:
        made.end()


def test_without_a_sweep_file_it_says_how_it_is_called(job: Job) -> None:
    code, _, errors = ends(job.start())
    assert code == 2 and "no sweep file given" in errors and "sbatch slurm.sh" in errors


def test_a_head_that_other_nodes_cannot_reach_is_refused(job: Job) -> None:
    srun = job.stand_ins / "srun"
    srun.write_text("#!/bin/sh\necho 127.0.1.1\n")
    code, _, errors = ends(job.start("sweep.yaml", FAIRSWEEP_HEAD_IP=""))
    assert code == 2 and "node1 stands for 127.0.1.1" in errors and "Fix: set FAIRSWEEP_HEAD_IP" in errors and not job.left()


@pytest.mark.services
def test_the_time_limit_saves_and_the_same_command_continues(job: Job) -> None:
    arguments = ["sweep.yaml", "--storage", str(job.folder / "sweeps"), "--tracking-uri", f"sqlite:///{job.folder}/mlflow.db"]
    first = job.start(*arguments, FAIRSWEEP_REQUEUE="1")
    wait_for(job.finished, first)
    # What Slurm sends with --signal=B:TERM@300: to the batch shell alone.
    first.send_signal(signal.SIGTERM)
    code, _, errors = ends(first)
    before = job.finished()
    assert code == 130 and "the same command again continues it" in errors, errors
    assert 0 < len(before) < TRIALS and not job.left(), job.left()
    assert (job.stand_ins / "requeued").read_text().split() == [str(job.number)]
    assert "Ray on 2 nodes, head node1 at 127.0.0.1:" in errors
    assert {"--nodelist=node1", "--exclude=node1"} <= set((job.stand_ins / "options").read_text().split())

    second = job.start(*arguments, "--json")
    code, out, errors = ends(second)
    assert code == 0, errors
    report = json.loads(out)
    assert (report["finished"], report["skipped"]) == (TRIALS, len(before))
    assert report["side_by_side"] == 2, "the second node's CPU was not used"
    assert before.items() <= job.finished().items() and not job.left(), job.left()
