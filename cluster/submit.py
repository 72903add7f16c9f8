"""Submits a sweep as a Ray job: what travels to the cluster, and what has to be there already."""

from __future__ import annotations

import importlib.util
import shlex
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.jobs import Jobs, SweepJob
from cluster.places import SubmissionError
from search_spaces.errors import BusyError, FairsweepError

PACKAGES = ("search_spaces", "trainers", "orchestrator", "cluster")
LEFT_BEHIND = shutil.ignore_patterns("__pycache__", "*.pyc", ".*", "deploy", "README.md")
SWEEP_FILE = "sweep.yaml"
STOP_SECONDS = 300
"""How long Ray lets a stopped driver save before it kills it; by default that is 3 seconds."""


@dataclass(frozen=True)
class Submission:
    """A planned sweep on its way to a cluster.

    Attributes:
        sweep: its name.
        digest: of its plan.
        spec: the sweep file as YAML text, overrides applied.
        storage: folder that all nodes share, or URI.
        tracking_uri: URL of the tracking server.
    """

    sweep: str
    digest: str
    spec: str
    storage: str
    tracking_uri: str
    retry_failed: bool = False

    def entrypoint(self) -> str:
        """Return the job's command; `exec`, so that a signal reaches the driver and not a shell."""
        command = ["python", "-m", "orchestrator.cli", "run", SWEEP_FILE, "--address", "auto"]
        command += ["--storage", self.storage, "--tracking-uri", self.tracking_uri]
        return "exec " + shlex.join([*command, *(["--retry-failed"] if self.retry_failed else [])])

    def job(self, attempt: int) -> SweepJob:
        """Return the job of an attempt; of two drivers that are submitted at once, the id lets one start."""
        name = f"fairsweep-{self.sweep}-{self.digest[:12]}-{attempt}"
        return SweepJob(name, self.sweep, self.digest, attempt, "PENDING", self.storage, self.tracking_uri)


def submit(jobs: Jobs, submission: Submission) -> tuple[SweepJob, bool]:
    """Start a sweep on a cluster, unless it runs there already.

    Returns:
        Its job, and whether it is a new one.

    Raises:
        BusyError: another version of the sweep runs there, under the same name.
        JobsError: the job server refuses.
    """
    known = [job for job in jobs.all() if job.sweep == submission.sweep]
    if running := next((job for job in known if job.active), None):
        return _running(running, submission), False
    attempt = 1 + max((job.attempt for job in known if job.digest == submission.digest), default=0)
    job = submission.job(attempt)
    with tempfile.TemporaryDirectory(prefix="fairsweep-submit-") as folder:
        pack(Path(folder), submission.spec)
        try:
            jobs.submit(job, submission.entrypoint(), runtime_env(folder))
        except FairsweepError:
            if any(other.job == job.job for other in jobs.all()):
                return jobs.find(job.job), False
            raise
    return jobs.find(job.job), True


def pack(folder: Path, spec: str) -> None:
    """Write what travels into a folder: the source of fairsweep's packages as they are imported here, and the sweep file."""
    for name in PACKAGES:
        found = importlib.util.find_spec(name)
        if found is None or found.origin is None:
            raise SubmissionError(f"the source of {name} is not in a folder that could be submitted. Fix: install fairsweep unpacked")
        shutil.copytree(Path(found.origin).parent, folder / name, ignore=LEFT_BEHIND)
    (folder / SWEEP_FILE).write_text(spec, encoding="utf-8")


def runtime_env(folder: str) -> dict[str, Any]:
    """Return Ray's runtime environment for a packed folder. No variable of this machine is in it: every user of a cluster can read it."""
    return {"working_dir": folder, "env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_SECONDS)}}


def _running(job: SweepJob, submission: Submission) -> SweepJob:
    if job.digest != submission.digest:
        raise BusyError(
            f"another version of sweep {job.sweep!r} (digest {job.digest[:12]}) runs as {job.job}. "
            f"Fix: `fairsweep stop {job.job}`, wait for its end, or give this sweep another name"
        )
    return job
