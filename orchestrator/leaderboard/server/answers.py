"""What the routes send: documents, the page, messages for people, and the headers that guard them."""

from __future__ import annotations

import hashlib
import json
import logging
import traceback
from html import escape

from flask import Response, request
from werkzeug.exceptions import HTTPException

from orchestrator.leaderboard.page.embedding import embedded
from orchestrator.leaderboard.server.snapshots import Busy, Document, Snapshot
from orchestrator.tracking.connection import AwayError
from search_spaces.errors import FairsweepError, UnknownNameError
from trainers.redaction import redacted

log = logging.getLogger(__name__)

_JSON = "application/json"
_NOTHING = "default-src 'none'; base-uri 'none'; form-action 'none'"
"""Policy of what runs and loads nothing."""
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Asked for each time, which costs little thanks to the tag: another user of the same browser may not read it.
    "Cache-Control": "private, no-cache",
}


def document(content: Document) -> Response:
    """Answer with JSON, or with 304 where the browser has it.

    Args:
        content: its `state`, where it has one, says whether it is another one.
    """
    state = str(content.get("state") or "")
    if state and state in request.if_none_match:
        answer = Response(status=304)
        answer.set_etag(state)
        return answer
    text = embedded(content)
    return _tagged(text, _JSON, state or _digest(text))


def page(content: Document) -> Response:
    """Answer with the page of a document, or with 304 where the browser has it."""
    from orchestrator.leaderboard.page import html
    from orchestrator.leaderboard.page.assembly import page_policy

    text = html(content, live=True)
    answer = _tagged(text, "text/html", _digest(text))
    answer.headers["Content-Security-Policy"] = page_policy(live=True)
    return answer


def fingerprint(snapshot: Snapshot, *more: object) -> str:
    """Return the state of a document: what changes when a snapshot or something else that goes with it does."""
    return _digest(repr((snapshot.digest, more)))


def message(title: str, text: str, status: int = 200) -> Response:
    """Answer with a page that says something to a person."""
    lines = [
        '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        f'<meta name="color-scheme" content="light dark"><link rel="icon" href="data:,"><title>{escape(title)}</title></head>',
        f'<body><main><h1>{escape(title)}</h1><p dir="auto">{escape(text)}</p><p><a href="./">MLflow</a></p></main></body></html>',
    ]
    answer = Response("\n".join(lines), status=status, mimetype="text/html")
    answer.headers["Content-Security-Policy"] = f"{_NOTHING}; img-src data:"
    return answer


def pending(busy: Busy) -> Response:
    """Answer that the document will be there: no error, which a browser would complain of."""
    answer = Response(json.dumps({"pending": str(busy)}), status=202, mimetype=_JSON)
    answer.headers["Retry-After"] = "2"
    return answer


def failed(error: Exception, store: str) -> Response | HTTPException:
    """Answer with what went wrong: a page where one was asked for, else `{"error": ...}`.

    Args:
        store: the server's store as messages name it, which concerns nobody outside.
    """
    if isinstance(error, HTTPException):
        return error
    status, text, wait_seconds = _explained(error)
    text = text.replace(store, "this server") if store else text
    if request.path.endswith("/leaderboard"):
        answer = message("The leaderboard cannot be shown", text, status)
    else:
        answer = Response(json.dumps({"error": text}), status=status, mimetype=_JSON)
    if wait_seconds is not None:
        answer.headers["Retry-After"] = str(wait_seconds)
    return answer


def protected(answer: Response) -> Response:
    """Add the headers that every answer has."""
    for name, value in _HEADERS.items():
        answer.headers.setdefault(name, value)
    policy = answer.headers.get("Content-Security-Policy", _NOTHING)
    answer.headers["Content-Security-Policy"] = f"{policy}; frame-ancestors 'self'"
    return answer


def _explained(error: Exception) -> tuple[int, str, int | None]:
    """Return the status, what is said, and after how many seconds it is worth asking again."""
    if isinstance(error, UnknownNameError):
        return 404, str(error), None
    if isinstance(error, AwayError):
        log.error("%s", error)
        return 503, "the store of this server does not answer. Fix: let its administrator look into the server's log", 10
    if isinstance(error, FairsweepError):
        return 409, str(error), None
    log.error("the leaderboard failed: %s", redacted("".join(traceback.format_exception(error))))
    return 500, "this is a defect of the leaderboard; the server's log says more", None


def _tagged(text: str, mimetype: str, tag: str) -> Response:
    answer = Response(text, mimetype=mimetype)
    answer.set_etag(tag)
    answer.make_conditional(request)
    return answer


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
