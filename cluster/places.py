"""What every node of a cluster must reach: a sweep's storage, its tracking server, its data and base models."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from urllib.parse import parse_qsl, unquote, urlsplit

from search_spaces.errors import FairsweepError
from search_spaces.trial import Trial

SECRET_WORDS = ("password", "passwd", "token", "secret", "key", "credential", "signature")
NAMED_BEFORE_AT = ("abfs", "abfss", "gs", "gcs", "hdfs", "viewfs")
"""Schemes of storage whose part before the @ is a container or a user without a password."""
CREDENTIALS = "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"


class SubmissionError(FairsweepError):
    """A sweep that would not run on a cluster as it is submitted."""


def check_places(storage: str | None, tracking_uri: str | None) -> None:
    """Make sure that every node can reach a sweep's storage and its tracking store, and that their URIs hold no secret.

    Args:
        storage: what `--storage` says; an absolute path is taken for a folder that all nodes mount.
        tracking_uri: what `--tracking-uri` or MLFLOW_TRACKING_URI says.

    Raises:
        SubmissionError: one of them is missing, local to a machine, or holds a secret.
    """
    fix = "Fix: pass --storage with a URI such as s3://bucket/sweeps, or the absolute path of a folder that every node mounts"
    if not storage:
        raise SubmissionError(f"submit needs storage that every node reaches. {fix}")
    _refuse_secrets(storage, "--storage", "Fix: leave it out; the nodes take credentials from their environment, such as AWS_ACCESS_KEY_ID")
    if "://" not in storage and not Path(storage).is_absolute():
        raise SubmissionError(f"--storage {storage!r} is relative to a folder of this machine, which the nodes do not have. {fix}")
    fix = "Fix: pass --tracking-uri http://HOST:PORT of an MLflow server that the head node reaches (cluster/deploy/mlflow brings one up)"
    if not tracking_uri:
        raise SubmissionError(f"submit needs a tracking server. {fix}")
    _refuse_secrets(tracking_uri, "--tracking-uri", f"Fix: leave it out and set {CREDENTIALS} in the environment of the cluster's nodes")
    if urlsplit(tracking_uri).scheme not in ("http", "https"):
        raise SubmissionError(f"--tracking-uri {tracking_uri!r} is not a server: the cluster would not find it or not share it. {fix}")


def check_travel(trials: Iterable[Trial]) -> None:
    """Make sure that what the trials read is not in a folder that only this machine knows.

    Raises:
        SubmissionError: data or a base model is given as a path that is relative to a folder here.
    """
    trials = list(trials)
    sources = {trial.data.source for trial in trials} - {"hub", "embedded"}
    models = {trial.model.id for trial in trials}
    faults = [f"data.source {source!r}" for source in sorted(sources) if not Path(source).is_absolute()]
    faults += [f"model {name!r}" for name in sorted(models) if not Path(name).is_absolute() and Path(name).is_dir()]
    if faults:
        raise SubmissionError(
            f"only code travels to the cluster, and {' and '.join(faults)} is a folder here. "
            "Fix: put it where every node mounts it and give the absolute path, or take it from the hub"
        )


def _refuse_secrets(uri: str, option: str, fix: str) -> None:
    parts = urlsplit(uri)
    user, at, _ = unquote(parts.netloc).rpartition("@")
    secret_key = next((key for key, _ in parse_qsl(parts.query) if any(word in key.lower() for word in SECRET_WORDS)), None)
    if secret_key or (at and (":" in user or parts.scheme not in NAMED_BEFORE_AT)):
        what = f"a secret ({secret_key})" if secret_key else "a user name or password"
        raise SubmissionError(f"{option} holds {what}, which would be shown to every user of the cluster. {fix}")
