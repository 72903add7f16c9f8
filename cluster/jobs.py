"""Sweeps as Ray jobs: submitted, found, followed and stopped on a cluster."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cluster import job_server
from search_spaces.errors import UnknownNameError

METADATA = "fairsweep."
NOTED = ("sweep", "digest", "attempt", "storage", "tracking_uri")
"""What is noted with a job, each under `fairsweep.`; a job without these is another program's."""
ACTIVE = ("PENDING", "RUNNING")
POLL_SECONDS = 1.0


@dataclass(frozen=True)
class SweepJob:
    """A sweep as a job on a cluster.

    Attributes:
        job: Ray's submission id.
        attempt: how often this sweep was submitted, this time included.
        status: PENDING, RUNNING, STOPPED, SUCCEEDED or FAILED.
        started: Unix time in seconds; None before.
        ended: Unix time in seconds; None before.
        exit_code: of the driver; None while it runs, and after a stop.
        message: why a job failed whose driver did not end by itself; empty otherwise.
    """

    job: str
    sweep: str
    digest: str
    attempt: int
    status: str
    storage: str
    tracking_uri: str
    started: float | None = None
    ended: float | None = None
    exit_code: int | None = None
    message: str = ""

    @property
    def active(self) -> bool:
        """Whether the job waits or runs."""
        return self.status in ACTIVE

    def to_json(self) -> dict[str, Any]:
        """Return what `fairsweep status --json` prints."""
        return asdict(self)


class Jobs:
    """The sweeps of one cluster.

    Args:
        address: URL of the dashboard, such as `http://HEAD:8265`.

    Attributes:
        authenticated: whether the cluster asks for a token.

    Raises:
        JobsError: nothing answers there, the token is missing or wrong, or Ray's job client is not installed.
    """

    def __init__(self, address: str) -> None:
        self.address = job_server.checked(address)
        self.authenticated = job_server.asks_for_a_token(self.address)
        with job_server.answering(self.address):
            self._client = job_server.client(self.address)

    def submit(self, job: SweepJob, entrypoint: str, runtime_env: Mapping[str, Any]) -> None:
        """Start a job.

        Raises:
            JobsError: the server refuses, as it does when the job's id is taken.
        """
        metadata = {f"{METADATA}{key}": str(getattr(job, key)) for key in NOTED}
        with job_server.answering(self.address):
            self._client.submit_job(entrypoint=entrypoint, submission_id=job.job, runtime_env=dict(runtime_env), metadata=metadata)

    def all(self) -> list[SweepJob]:
        """Return the sweeps that this cluster knows, in the order of their submission."""
        with job_server.answering(self.address):
            found = self._client.list_jobs()
        return sorted((_sweep_job(job) for job in found if _is_sweep(job)), key=lambda job: (job.started or 0, job.attempt))

    def find(self, name: str) -> SweepJob:
        """Return a job by its id, or a sweep's latest by the sweep's name.

        Raises:
            UnknownNameError: there is neither.
        """
        known = self.all()
        for job in reversed(known):
            if name in (job.job, job.sweep):
                return job
        raise UnknownNameError(f"job or sweep at {self.address}", name, {label for job in known for label in (job.job, job.sweep)})

    def logs(self, job: SweepJob) -> str:
        """Return what a job has written so far."""
        with job_server.answering(self.address):
            return str(self._client.get_job_logs(job.job) or "")

    def follow(self, job: SweepJob, write: Callable[[str], object]) -> None:
        """Hand over what a job writes, from its beginning, until it ends."""

        async def pass_on() -> None:
            async for text in self._client.tail_job_logs(job.job):
                write(text)

        with job_server.answering(self.address):
            asyncio.run(pass_on())

    def stop(self, job: SweepJob) -> Iterator[SweepJob]:
        """Have a job's driver save and end, and yield the job until it has ended."""
        while (now := self.find(job.job)).active:
            with job_server.answering(self.address):
                # Again every time: a job that is only being set up has nobody yet who takes the request.
                self._client.stop_job(job.job)
            yield now
            time.sleep(POLL_SECONDS)
        yield now

    def wait(self, job: SweepJob) -> SweepJob:
        """Wait for a job's end and return it."""
        while (now := self.find(job.job)).active:
            time.sleep(POLL_SECONDS)
        return now


def _is_sweep(job: Any) -> bool:
    noted = job.metadata or {}
    return bool(job.submission_id) and all(METADATA + key in noted for key in NOTED) and str(noted[METADATA + "attempt"]).isdecimal()


def _sweep_job(job: Any) -> SweepJob:
    noted = {key.removeprefix(METADATA): value for key, value in job.metadata.items()}
    failed = job.status == "FAILED" and job.driver_exit_code is None
    return SweepJob(
        job=job.submission_id,
        sweep=noted["sweep"],
        digest=noted["digest"],
        attempt=int(noted["attempt"]),
        status=str(job.status.value),
        storage=noted["storage"],
        tracking_uri=noted["tracking_uri"],
        started=job.start_time / 1000 if job.start_time else None,
        ended=job.end_time / 1000 if job.end_time else None,
        exit_code=job.driver_exit_code,
        message=(job.message or "").strip().partition("\n")[0][:300] if failed else "",
    )
