"""The tracking store: where it is, a client to it, and errors that a user can read."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from search_spaces.errors import FairsweepError, TrackingError
from trainers.redaction import MASK, redacted

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

DEFAULT_URI = "sqlite:///fairsweep/mlflow.db"
PREFIX = "fairsweep/"
"""What the name of every experiment starts with."""

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # Delivery has its own, longer backoff; MLflow's would keep a command that only reads silent for four minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
}
CREDENTIALS = ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
"""Environment variables with which MLflow logs in."""
_PAGE = 1000
"""Runs per request of a search."""


class AwayError(TrackingError):
    """The tracking store cannot be used for now: the same call may succeed later.

    Attributes:
        answered: whether a server answered, though with an error.
    """

    def __init__(self, message: str, answered: bool = False) -> None:
        super().__init__(message)
        self.answered = answered


class AccessError(AwayError):
    """The tracking server does not accept the credentials, or does not let this user do it: it may once they are put right."""


def tracking_uri(explicit: str | None) -> str:
    """Return the tracking URI of a command: `--tracking-uri`, else `MLFLOW_TRACKING_URI`, else the default store.

    Args:
        explicit: what the user passed; None or empty for nothing.

    Raises:
        TrackingError: it is the URI of a server and holds a user name or a password.
    """
    return _without_credentials(explicit or os.environ.get("MLFLOW_TRACKING_URI") or DEFAULT_URI)


def exists(uri: str) -> bool:
    """Tell whether a tracking store can hold anything yet: a SQLite file that is not there cannot."""
    file = sqlite_file(uri)
    return file is None or file.is_file()


def shown_uri(uri: str) -> str:
    """Return a URI, or a text with URIs in it, as it may be shown and recorded: without user names and passwords."""
    return redacted(uri)


def artifact_location(uri: str, sweep: str) -> str | None:
    """Return where a sweep's artifacts lie: beside a SQLite file; None leaves it to the server."""
    file = sqlite_file(uri)
    return None if file is None else str(file.absolute().parent / "artifacts" / sweep)


def connect(uri: str) -> MlflowClient:
    """Return a client of a tracking store; the folder of a SQLite file is made.

    Raises:
        AwayError: the store does not answer.
        TrackingError: the store refuses, or the URI of a server holds credentials.
    """
    _without_credentials(uri)
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    from mlflow import MlflowClient

    for chatty in ("mlflow.store.db.utils", "alembic"):
        logging.getLogger(chatty).setLevel(logging.CRITICAL)
    with readable(uri):
        if file := sqlite_file(uri):
            file.parent.mkdir(parents=True, exist_ok=True)
        return MlflowClient(tracking_uri=uri)


@contextmanager
def readable(uri: str) -> Iterator[None]:
    """Turn what MLflow raises into errors that name the store and the fix.

    Raises:
        AwayError: the store does not answer.
        TrackingError: the store refuses the call.
    """
    from mlflow.exceptions import MlflowException
    from requests import RequestException
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except FairsweepError:
        raise
    except (MlflowException, RequestException, SQLAlchemyError, OSError) as error:
        raise _translated(uri, error) from error


def _translated(uri: str, error: Exception) -> TrackingError:
    text = str(error).strip()
    reason = redacted((text.splitlines() or [type(error).__name__])[0])[:300]
    status = _status(error)
    if status in (401, 403):
        return _access_error(uri, status, reason)
    # A server whose database goes away answers some requests with 400, and the text of SQLAlchemy's error.
    passing = status in (408, 409, 429) or "sqlalche.me" in text
    if 400 <= status < 500 and not passing:
        return TrackingError(f"the tracking store {shown_uri(uri)} refused: {reason}")
    return AwayError(
        f"the tracking store {shown_uri(uri)} does not answer: {reason}. Fix: start the server or check --tracking-uri; results wait "
        "in the sweep's storage and are delivered by the next run",
        answered="failed with exception" not in text or "error responses" in text,
    )


def _status(error: Exception) -> int:
    """Return the HTTP status that an error stands for; 503 where it has none."""
    response = getattr(error, "response", None)
    if response is not None:
        return int(response.status_code)
    return int(error.get_http_status_code()) if hasattr(error, "get_http_status_code") else 503


def _access_error(uri: str, status: int, reason: str) -> AccessError:
    if status == 403:
        return AccessError(
            f"the tracking server {shown_uri(uri)} does not permit this (403): {reason}. Fix: let its administrator grant you EDIT on "
            "the experiment, or give the sweep another name"
        )
    names = [name for name in CREDENTIALS if os.environ.get(name)]
    found = f"what {' and '.join(names)} hold is not valid there" if names else f"none of {', '.join(CREDENTIALS)} is set"
    return AccessError(
        f"the tracking server {shown_uri(uri)} asks for a login (401), and {found}. Fix: set MLFLOW_TRACKING_USERNAME and "
        "MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN, in the environment of this command"
    )


def _without_credentials(uri: str) -> str:
    """Return a URI unless it is that of a server and holds credentials, which would be in process lists, job records and logs."""
    if uri.startswith(("http://", "https://")) and f"://{MASK}@" in redacted(uri):
        raise TrackingError(
            f"the tracking URI {shown_uri(uri)} holds a user name or a password. Fix: take them out of the URI, and set "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD in the environment"
        )
    return uri


def search(client: MlflowClient, experiments: list[str], condition: str) -> Iterator[Run]:
    """Yield the live runs of some experiments that meet a condition, page by page."""
    token: str | None = None
    while experiments:
        page = client.search_runs(experiments, condition, max_results=_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def sweep_experiments(client: MlflowClient) -> dict[str, str]:
    """Return the live experiments of sweeps as sweep name -> experiment id."""
    found: dict[str, str] = {}
    token: str | None = None
    while True:
        page = client.search_experiments(filter_string=f"name LIKE '{PREFIX}%'", max_results=_PAGE, page_token=token)
        found |= {experiment.name.removeprefix(PREFIX): experiment.experiment_id for experiment in page}
        token = page.token
        if not token:
            return found


def sqlite_file(uri: str) -> Path | None:
    """Return the file of a SQLite URI; None for any other store, and for one in memory."""
    if not uri.startswith("sqlite:///"):
        return None
    name = uri.removeprefix("sqlite:///").partition("?")[0]
    return Path(name) if name and name != ":memory:" else None
