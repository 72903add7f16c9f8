"""Checks of what nodes share: the cluster itself, the sweep file, the storage, the tracking store."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.examination import Finding
from orchestrator.doctor.subject import Subject

SLOW_SECONDS = 1.0
SHARED = "pass --storage with a folder that every node mounts (NFS), or a URI such as s3://bucket/folder"


def cluster(subject: Subject) -> Iterator[Finding]:
    """The Ray cluster can be reached."""
    if subject.unreachable:
        yield Finding("failure", *_split(subject.unreachable, "start it with `ray start --head`, or check --address"))


def sweep(subject: Subject) -> Iterator[Finding]:
    """The sweep file has no faults."""
    for fault in subject.faults:
        seen = f"{fault.path}: {fault.message}" if fault.path else fault.message
        yield Finding("failure", seen, fault.fix or "correct the sweep file; `fairsweep plan` shows the same")
    if subject.plan is not None:
        plan = subject.plan
        yield Finding("ok", f"{plan.spec.name}: {plan.select_count + plan.report_count} trials on {len(plan.spec.models)} base models")


def storage(subject: Subject) -> Iterator[Finding]:
    """The driver and every node write to the same storage."""
    found = subject.storage
    if found.error:
        yield Finding("failure", *_split(found.error, "pass --storage of another place"))
        return
    for name, problem in found.problems.items():
        yield Finding("failure", *_split(problem, SHARED), node=name)
    if found.place and not found.problems:
        who = f", by the driver and {len(subject.alive)} nodes" if subject.clustered else ""
        yield Finding("ok", f"{found.place} is written and read{who}")


def tracking(subject: Subject) -> Iterator[Finding]:
    """The tracking store answers, knows this user and takes experiments."""
    found = subject.tracking
    if not found.uri:
        return
    if found.error:
        seen, fix = _split(found.error, "check --tracking-uri, or what keeps this file or server from being used")
        # What follows is about a sweep that runs already.
        yield Finding("failure", seen, fix.partition(";")[0])
    elif not found.may_create:
        fix = "ask the server's administrator for the permission"
        yield Finding("failure", f"{found.uri} does not let this user make experiments", fix)
    else:
        seconds = found.latency_seconds
        latency = "to be made by the first run" if seconds is None else f"{seconds * 1000:.0f} ms for a search"
        slow = (seconds or 0) > SLOW_SECONDS
        fix = "give the server a database such as PostgreSQL, and auth_cache_ttl_seconds where it asks for logins" if slow else ""
        yield Finding("warning" if slow else "ok", f"{found.uri} can be used, {latency}", fix)


def tracking_versions(subject: Subject) -> Iterator[Finding]:
    """Server and client are of one version."""
    found = subject.tracking
    if found.server is None:
        return
    server, client = (text.split(".")[:2] for text in (found.server, found.client))
    if server != client:
        fix = "install the same MLflow on both sides: the client sends what an older server may not know"
        yield Finding("warning", f"the server has MLflow {found.server}, the client {found.client}", fix)
    else:
        yield Finding("ok", f"the server has MLflow {found.server}, the client {found.client}")


def tracking_shared(subject: Subject) -> Iterator[Finding]:
    """Runs over several nodes record in a store that machines can share."""
    if subject.several and subject.tracking.local_file:
        fix = "start `mlflow server` on PostgreSQL and pass --tracking-uri http://HOST:PORT"
        yield Finding("failure", f"{subject.tracking.uri} is a file of one machine, and the cluster has several nodes", fix)


def tracking_security(subject: Subject) -> Iterator[Finding]:
    """The server asks for a login, and the password is not sent in clear."""
    if subject.tracking.open_to_all:
        fix = "start it with --app-name basic-auth"
        yield Finding("warning", f"{subject.tracking.uri} asks nobody for a login: whoever reaches it can change the runs", fix)
    if subject.tracking.unencrypted:
        fix = "put the server behind HTTPS, unless the network is a private one"
        yield Finding("warning", f"the password travels to {subject.tracking.uri} unencrypted", fix)


def _split(text: str, fix: str) -> tuple[str, str]:
    """Return an error's text as what was seen and its fix, or the given one where it names none."""
    seen, _, named = text.partition(" Fix: ")
    return seen, named or fix
