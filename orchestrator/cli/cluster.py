"""Commands on sweeps that run as Ray jobs: submit, status, logs, stop."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from typing import Any

import click

from orchestrator.cli.command import DONE, INTERRUPTED, NO, Answer, accept_option, command, json_option, set_option, with_edge
from orchestrator.output import safe

NOTICE_SECONDS = 10
"""Between two lines that say how a stop goes on."""

address_option = click.option(
    "--address",
    metavar="URL",
    envvar="RAY_API_SERVER_ADDRESS",
    default="http://127.0.0.1:8265",
    show_default=True,
    help="Dashboard of the cluster's head node (also RAY_API_SERVER_ADDRESS).",
)
job_argument = click.argument("name", metavar="JOB|SWEEP")


@command(
    click.argument("spec"),
    set_option,
    address_option,
    click.option("--storage", metavar="PATH|URI", help="What every node reaches: a URI, or the absolute path of a shared folder."),
    click.option("--tracking-uri", metavar="URL", envvar="MLFLOW_TRACKING_URI", help="MLflow server (also MLFLOW_TRACKING_URI)."),
    click.option("--retry-failed", is_flag=True, help="Run trials again that failed."),
    accept_option,
    click.option("--wait/--no-wait", help="Follow the job to its end and exit as it does."),
    json_option,
)
def submit(
    answer: Answer,
    spec: str,
    overrides: tuple[str, ...],
    address: str,
    storage: str | None,
    tracking_uri: str | None,
    retry_failed: bool,
    accept_edge: bool,
    wait: bool,
    as_json: bool,
) -> int:
    """Run a sweep as a job on a Ray cluster, or continue it there. SPEC is a file or a study's name.

    Only the code and the sweep file travel. Credentials come from the cluster's own environment; Ray's token is read from
    RAY_AUTH_TOKEN_PATH, RAY_AUTH_TOKEN or ~/.ray/auth_token.
    """
    from cluster.jobs import Jobs
    from cluster.places import check_places, check_travel
    from cluster.submit import Submission
    from cluster.submit import submit as submitted
    from orchestrator.catalog import InstalledCatalog
    from orchestrator.plan import load_plan
    from search_spaces.loading import dump_spec

    check_places(storage, tracking_uri)
    made = load_plan(spec, InstalledCatalog(), with_edge(overrides, accept_edge))
    check_travel((*made.trials, *made.base_trials))
    jobs = Jobs(address)
    if not jobs.authenticated:
        _say(f"the cluster at {jobs.address} asks for no token: whoever reaches it runs code there. Fix: RAY_AUTH_MODE=token on its nodes")
    whole = Submission(made.spec.name, made.digest, dump_spec(made.spec), storage or "", tracking_uri or "", retry_failed)
    job, new = submitted(jobs, whole)
    _say(f"{job.job} {'is submitted' if new else 'runs already; nothing was submitted'}. {_next(job.job)}")
    code = DONE
    if wait:
        job, code = _follow(jobs, job)
    if as_json:
        answer.json({**job.to_json(), "address": jobs.address, "submitted": new})
    elif not wait:
        answer.text(job.job)
    return code


@command(click.argument("name", metavar="[JOB|SWEEP]", required=False), address_option, json_option)
def status(answer: Answer, name: str | None, address: str, as_json: bool) -> int:
    """Show the jobs of all sweeps on a cluster, or one of them; exit code 1 when that one has failed."""
    from cluster.jobs import Jobs
    from orchestrator import tables

    jobs = Jobs(address)
    found = [jobs.find(name)] if name else jobs.all()
    if as_json:
        answer.json(found[0].to_json() if name else [job.to_json() for job in found])
    elif found:
        answer.show(tables.listing([_row(job) for job in found]))
    else:
        answer.text(f"no sweep was submitted to {jobs.address} since it started")
    return NO if name and found[0].status == "FAILED" else DONE


@command(job_argument, click.option("-f", "--follow", is_flag=True, help="Go on until the job ends."), address_option)
def logs(answer: Answer, name: str, follow: bool, address: str) -> int:
    """Print what a sweep's driver has written."""
    from cluster.jobs import Jobs

    jobs = Jobs(address)
    job = jobs.find(name)
    if not follow:
        answer.stream.write(jobs.logs(job))
        return DONE
    try:
        jobs.follow(job, lambda text: _pass_on(answer.stream, text))
    except KeyboardInterrupt:
        _say(f"{job.job} goes on. {_next(job.job)}")
        return INTERRUPTED
    return DONE


@command(job_argument, address_option, json_option)
def stop(answer: Answer, name: str, address: str, as_json: bool) -> int:
    """Have a sweep's driver save and end, and wait for it; submitting the sweep again continues it."""
    from cluster.jobs import Jobs

    jobs = Jobs(address)
    job = jobs.find(name)
    was_active, begun, told = job.active, time.monotonic(), -NOTICE_SECONDS
    try:
        for now in jobs.stop(job):
            waited = round(time.monotonic() - begun)
            if now.active and waited - told >= NOTICE_SECONDS:
                told = waited
                _say(f"{job.job} saves and ends ({waited} s so far)")
            job = now
    except KeyboardInterrupt:
        _say(f"{job.job} is asked to stop and goes on with that. `fairsweep status {job.job}` shows when it has ended")
        return INTERRUPTED
    if as_json:
        answer.json(job.to_json())
    else:
        ended = "" if was_active else " and had ended before"
        answer.text(f"{job.job} is {job.status}{ended}. To continue, submit the sweep again")
    return DONE


def _follow(jobs: Any, job: Any) -> tuple[Any, int]:
    """Show a job's output to its end; return what became of it, and the exit code that says so."""
    try:
        jobs.follow(job, lambda text: _pass_on(sys.stderr, text))
        job = jobs.wait(job)
    except KeyboardInterrupt:
        _say(f"{job.job} goes on. {_next(job.job)}")
        return job, INTERRUPTED
    if job.message:
        _say(job.message)
    if job.status == "STOPPED":
        return job, INTERRUPTED
    return job, DONE if job.status == "SUCCEEDED" else job.exit_code or NO


def _pass_on(stream: Any, text: str) -> None:
    stream.write(text)
    stream.flush()


def _say(text: str) -> None:
    click.echo(safe(f"fairsweep: {text}"), err=True)


def _next(job: str) -> str:
    return f"Next: `fairsweep status {job}`, `fairsweep logs -f {job}` or `fairsweep stop {job}`"


def _row(job: Any) -> dict[str, Any]:
    return {
        "job": job.job,
        "sweep": job.sweep,
        "status": job.status,
        "started": _clock(job.started),
        "ended": _clock(job.ended),
        "exit code": "" if job.exit_code is None else str(job.exit_code),
        "storage": job.storage,
        "message": job.message,
    }


def _clock(seconds: float | None) -> str:
    return "" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
