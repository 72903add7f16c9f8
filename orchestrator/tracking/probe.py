"""Tries a tracking store before a sweep: reached, authenticated, writable, and how quick; nothing is left in it."""

from __future__ import annotations

import os
import sqlite3
import tempfile
import time
from contextlib import closing
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from cluster.network import is_loopback
from orchestrator.tracking.connection import CREDENTIALS, connect, exists, readable, shown_uri, sqlite_file
from search_spaces.errors import TrackingError

REQUEST_SECONDS = 10
_DATABASES = ("postgresql", "mysql", "mssql")
_API = "/api/2.0/mlflow/experiments"
REQUESTS = 3
"""Searches that are timed; the quickest counts."""


@dataclass(frozen=True)
class TrackingProbe:
    """What a tracking store answered.

    Attributes:
        uri: without user names and passwords.
        local_file: whether it is a file of this machine.
        error: why it cannot be used; empty when it can.
        may_create: whether experiments may be made.
        open_to_all: whether it answers without a login, on an address that other machines reach.
        unencrypted: whether a password would travel there in clear.
        server: the server's version; None for a database.
        client: the version here.
        latency_seconds: of one small search.
    """

    uri: str
    local_file: bool = False
    error: str = ""
    may_create: bool = True
    open_to_all: bool = False
    unencrypted: bool = False
    server: str | None = None
    client: str = ""
    latency_seconds: float | None = None


def probe(uri: str) -> TrackingProbe:
    """Try a tracking store; what is wrong is in the result, not raised."""
    if uri.startswith(("http://", "https://")):
        return _server(uri)
    shown, client = shown_uri(uri), version("mlflow")
    file = sqlite_file(uri)
    try:
        if file is not None:
            _writable(file)
        _reach(uri)
        latency = _search_seconds(uri) if exists(uri) else None
    except (TrackingError, OSError, sqlite3.Error, ImportError) as error:
        return TrackingProbe(shown, local_file=file is not None, error=_named(shown, error), client=client)
    return TrackingProbe(shown, local_file=file is not None, client=client, latency_seconds=latency)


def _reach(uri: str) -> None:
    """Raise TrackingError when a database server cannot be reached: MLflow itself would try for minutes."""
    dialect = uri.partition("://")[0].partition("+")[0]
    if dialect not in _DATABASES:
        return
    from sqlalchemy import create_engine

    patience = {} if dialect == "mssql" else {"connect_timeout": REQUEST_SECONDS}
    with readable(uri):
        engine = create_engine(uri, connect_args=patience)
        try:
            engine.connect().close()
        finally:
            engine.dispose()


def _named(shown: str, error: Exception) -> str:
    text = shown_uri(str(error))
    return text if isinstance(error, TrackingError) else f"{shown} cannot be used: {text}"


def _writable(file: Path) -> None:
    """Raise OSError or sqlite3.Error when a SQLite file cannot be written, or made; it is left as it is."""
    if file.is_file():
        with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=rw", uri=True, timeout=REQUEST_SECONDS)) as database:
            database.execute("BEGIN IMMEDIATE")
            database.rollback()
        return
    folder = file.absolute().parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    with tempfile.TemporaryFile(dir=folder):
        pass


def _search_seconds(uri: str) -> float:
    client, best = connect(uri), float("inf")
    with readable(uri):
        for _ in range(REQUESTS):
            begun = time.monotonic()
            client.search_experiments(max_results=1)
            best = min(best, time.monotonic() - begun)
    return best


def _server(uri: str) -> TrackingProbe:
    """Ask for the version, search, and try to make an experiment without a name, which is refused for that only if it may be made."""
    host, client = urlsplit(uri).hostname or "", version("mlflow")
    elsewhere = not is_loopback(host)
    clear = elsewhere and uri.startswith("http://") and any(map(os.environ.get, CREDENTIALS))
    seen: dict[str, Any] = {"uri": shown_uri(uri), "client": client, "unencrypted": clear}
    try:
        seen["server"] = _request(uri, "GET", "/version").text.strip()[:40]
        seen["latency_seconds"] = min(_timed(uri) for _ in range(REQUESTS))
        # 400: only the missing name is wrong.
        seen["may_create"] = _request(uri, "POST", f"{_API}/create", {}, refused=True).status_code == 400
        return TrackingProbe(**seen, open_to_all=elsewhere and _answers_strangers(uri))
    except TrackingError as error:
        return TrackingProbe(**seen, error=str(error))


def _timed(uri: str) -> float:
    begun = time.monotonic()
    _request(uri, "POST", f"{_API}/search", {"max_results": 1})
    return time.monotonic() - begun


def _request(uri: str, method: str, path: str, document: Any = None, refused: bool = False) -> Any:
    """Send one request with the credentials that MLflow would use, and return the response.

    Args:
        refused: return what the server refuses as well.

    Raises:
        TrackingError: nothing answers, or the server refuses.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    send: Any = http_request
    options = {"max_retries": 0, "timeout": REQUEST_SECONDS, "raise_on_status": False, "allow_redirects": False}
    with readable(uri):
        credentials: Any = get_default_host_creds(uri)
        response = send(credentials, path, method, **options, **({} if document is None else {"json": document}))
        if not refused:
            response.raise_for_status()
    return response


def _answers_strangers(uri: str) -> bool:
    import requests

    session = requests.Session()
    session.trust_env = False  # no credentials from ~/.netrc
    try:
        return session.get(f"{uri.rstrip('/')}/version", timeout=REQUEST_SECONDS).status_code == 200
    except requests.RequestException:
        return False
