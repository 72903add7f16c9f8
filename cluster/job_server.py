"""The way to the job server of a Ray cluster: its address, Ray's authentication token, and errors that a user can read."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from search_spaces.errors import FairsweepError

PROBE_SECONDS = 10
TOKEN_FIX = (
    "Fix: set RAY_AUTH_TOKEN_PATH to the file that holds the cluster's token (or RAY_AUTH_TOKEN), or write the token to ~/.ray/auth_token"
)


class JobsError(FairsweepError):
    """Ray's job server cannot be reached, refuses, or cannot be used from here."""


def checked(address: str) -> str:
    """Return the URL of a dashboard without a slash at its end.

    Raises:
        JobsError: it is none, or holds a password.
    """
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise JobsError(f"{address!r} is not the URL of a Ray dashboard. Valid: http://HOST:PORT, such as http://127.0.0.1:8265")
    if parts.username or parts.password:
        raise JobsError(f"the address of {parts.hostname} holds a user name or password. Fix: leave them out. {TOKEN_FIX}")
    return address.rstrip("/")


def asks_for_a_token(address: str) -> bool:
    """Tell whether a cluster asks for a token; its dashboard tells anyone. Ray's own client would wait for an answer without a limit.

    Raises:
        JobsError: no dashboard answers.
    """
    import requests

    try:
        answer = requests.get(f"{address}/api/authentication_mode", timeout=PROBE_SECONDS)
        answer.raise_for_status()
        return bool(answer.json()["authentication_mode"] != "disabled")
    except (requests.RequestException, ValueError, KeyError, TypeError) as error:
        raise JobsError(f"no Ray dashboard answers at {address} ({type(error).__name__}). {_reach_fix(address)}") from error


def client(address: str) -> Any:
    """Return Ray's client of the job server at an address; it sends the token that is at hand.

    Raises:
        JobsError: Ray's client is not installed.
    """
    made = _client_class()
    # Ray's client tells of every upload and connection, at the level that its own loggers set.
    for handler in logging.getLogger("ray").handlers:
        handler.setLevel(logging.WARNING)
    with _environment(RAY_API_SERVER_ADDRESS=address):
        return made(address)


@contextmanager
def answering(address: str) -> Iterator[None]:
    """Turn what Ray and HTTP raise into errors that name the cluster and the fix.

    Raises:
        JobsError: the job server is away, refuses the token, or does not do as asked.
    """
    _use_the_token_at_hand()
    from ray.exceptions import AuthenticationError
    from requests import RequestException

    try:
        yield
    except FairsweepError:
        raise
    except AuthenticationError as error:
        raise JobsError(f"the Ray cluster at {address} {_refusal(str(error))}") from None
    except (RequestException, OSError, RuntimeError, KeyError, ValueError) as error:
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
        raise JobsError(f"Ray's job server at {address} does not do as asked: {reason}. {_reach_fix(address)}") from error


def _reach_fix(address: str) -> str:
    port = urlsplit(address).port or 8265
    return (
        f"Fix: check --address; a dashboard that listens on its own machine only is reached through a tunnel, such as "
        f"`ssh -N -L {port}:127.0.0.1:8265 HEAD` or `kubectl port-forward service/NAME-head-svc {port}:8265`"
    )


def _use_the_token_at_hand() -> None:
    """Have Ray's client send a token that is there. Ray reads the mode once, when it is first imported."""
    at_hand = os.environ.get("RAY_AUTH_TOKEN") or os.environ.get("RAY_AUTH_TOKEN_PATH") or (Path.home() / ".ray" / "auth_token").is_file()
    if at_hand:
        os.environ.setdefault("RAY_AUTH_MODE", "token")


def _client_class() -> Any:
    try:
        import aiohttp  # noqa: F401
        from ray.job_submission import JobSubmissionClient
    except ImportError as error:
        raise JobsError(f"Ray's job client is not installed ({error}). Fix: pip install 'fairsweep[cluster]'") from error
    return JobSubmissionClient


@contextmanager
def _environment(**variables: str) -> Iterator[None]:
    """Set variables for a while: Ray's client prefers that of the address to the one it is given."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _refusal(reason: str) -> str:
    if "Authentication failed" in reason:
        return f"refuses this token: it is not that cluster's. {TOKEN_FIX}"
    if os.environ.get("RAY_AUTH_MODE", "token").lower() != "token":
        return f"asks for a token, and RAY_AUTH_MODE={os.environ['RAY_AUTH_MODE']} keeps it from being sent. Fix: unset RAY_AUTH_MODE"
    return f"asks for a token, and there is none here. {TOKEN_FIX}"
