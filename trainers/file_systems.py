"""From a URI to pyarrow's file system, with what a URI must not hold refused before it can reach a log."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

from pyarrow import ArrowException, fs

from search_spaces.errors import StorageError

SCHEMES = ("file", "s3", "gs", "gcs", "abfs", "abfss", "hdfs", "viewfs")
S3_OPTIONS = ("region", "scheme", "endpoint_override", "allow_bucket_creation", "tls_ca_file_path")
USERS = ("hdfs", "viewfs", "abfs", "abfss", "gs", "gcs")
"""Schemes with a part before the @ that is no credential: a user of Hadoop, a container of Azure, `anonymous`."""
SECRETS = re.compile(r"secret|password|token|credential|signature|(access|account)_?key", re.IGNORECASE)
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
"""Variables of the environment that lead to another store than Amazon's, as `endpoint_override` does."""
ATTEMPTS = 3
"""How often S3 is asked before a request has failed; the waits between grow."""
CONNECT_SECONDS = 5.0
PATIENCE = timedelta(seconds=30)
"""How long Google's store is asked; its library would go on for a quarter of an hour."""


def file_system_of(uri: str) -> tuple[Any, str]:
    """Return the file system of a URI, and the path in it.

    Raises:
        StorageError: the URI holds a secret, its scheme is not known, or an option of it is not valid.
    """
    _refuse_secrets(uri)
    parts = urlsplit(uri)
    if parts.scheme not in SCHEMES:
        raise StorageError(f"{_shown(uri)!r} has no scheme that can be stored to. Valid: a path, {', '.join(s + '://' for s in SCHEMES)}")
    if not parts.netloc and parts.scheme not in ("hdfs", "viewfs"):
        raise StorageError(f"{_shown(uri)!r} names no bucket. Valid: {parts.scheme}://BUCKET/FOLDER")
    try:
        return _made(uri)
    except (OSError, ArrowException, NotImplementedError) as error:
        raise StorageError(f"cannot use {_shown(uri)}: {str(error).splitlines()[0]}. Fix: check the URI of --storage") from error


@lru_cache(maxsize=256)
def _made(uri: str) -> tuple[Any, str]:
    parts = urlsplit(uri)
    if parts.scheme == "s3":
        return _s3(parts.netloc, parts.query), unquote(f"{parts.netloc}{parts.path}")
    if parts.scheme in ("gs", "gcs") and "retry_limit_seconds" not in parts.query:
        uri += f"{'&' if parts.query else '?'}retry_limit_seconds={int(PATIENCE.total_seconds())}"
    file_system, path = fs.FileSystem.from_uri(uri)
    return file_system, path


@lru_cache(maxsize=8)
def _s3(bucket: str, query: str) -> Any:
    """Return a client of S3 with bounded patience, which writes small files with one request."""
    options: dict[str, Any] = dict(parse_qsl(query, keep_blank_values=True))
    unknown = sorted(set(options) - set(S3_OPTIONS))
    if unknown:
        raise StorageError(f"unknown option {unknown[0]!r} in the URI of --storage. Valid: {', '.join(S3_OPTIONS)}")
    if "allow_bucket_creation" in options:
        options["allow_bucket_creation"] = options["allow_bucket_creation"].lower() in ("1", "true")
    return fs.S3FileSystem(
        **{"region": _region(bucket, options), **options},
        connect_timeout=CONNECT_SECONDS,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        allow_delayed_open=True,
    )


def _region(bucket: str, options: dict[str, Any]) -> str:
    """Return the region of a bucket: from the environment, or as Amazon says; other stores have one in name only."""
    known = next((os.environ[name] for name in ("AWS_REGION", "AWS_DEFAULT_REGION") if os.environ.get(name)), None)
    if known or "region" in options:
        return str(options.get("region", known))
    elsewhere = "endpoint_override" in options or any(os.environ.get(name) for name in ENDPOINTS)
    return "us-east-1" if elsewhere else str(fs.resolve_s3_region(bucket))


def _refuse_secrets(uri: str) -> None:
    parts = urlsplit(uri)
    user, at, _ = parts.netloc.rpartition("@")
    secret = next((name for name, _ in parse_qsl(parts.query, keep_blank_values=True) if SECRETS.search(name)), None)
    if ":" in user or (at and parts.scheme not in USERS) or secret:
        where = f"the option {secret!r}" if secret else "the part before the @"
        raise StorageError(
            f"the URI of --storage holds a credential ({where}); it would land in logs and job descriptions. Fix: leave it out, and set it "
            "in the environment of every machine (for S3 AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY)"
        )


def _shown(uri: str) -> str:
    return uri.partition("?")[0]
