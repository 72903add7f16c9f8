"""Secrets kept out of what is recorded and shown: values of the environment's secret variables, and credentials in URIs and headers."""

from __future__ import annotations

import json
import os
import re
import traceback
from collections.abc import Callable, Iterator
from urllib.parse import quote, unquote, urlsplit

MASK = "***"
SHORTEST = 6
"""Characters from which on a value is taken for a secret: shorter ones occur in any text."""

LONGEST_LINE, LONGEST_TEXT = 2000, 8000
"""Characters of a line, of which the beginning is kept, and of a stack trace, of which the end is."""

_SECRET_NAMES = re.compile(r"(?i)(password|passwd|passphrase|secret|token|key|key_?id|pat|connection_?string)$")
_USER = re.compile(r"://(?:[^/\s\"'@:]*:(?!\d+/)[^\s\"'@]*@(?:[^/\s\"'@]*@)?|[^/\s\"']*@)")
_QUERY = re.compile(r"(?i)([?&][^=&\s]*(?:password|passwd|token|secret|key)=)[^&\s\"']*")
_HEADER = re.compile(r"(?i)(authorization[\"']?\s*[:=]\s*b?[\"']?(?:basic|bearer)\s+)[^\s\"',]+")

_SPELLINGS: tuple[Callable[[str], str], ...] = (str, quote, lambda value: quote(value, safe=""), lambda value: json.dumps(value)[1:-1])
"""How a value may be spelled where it turns up: as it is, in a URI, in JSON."""


def redacted(text: str) -> str:
    """Return a text without the secrets of this process's environment and without credentials in URIs and headers."""
    for secret in _secrets():
        text = text.replace(secret, MASK)
    for pattern, mask in ((_USER, f"://{MASK}@"), (_QUERY, rf"\1{MASK}"), (_HEADER, rf"\1{MASK}")):
        text = pattern.sub(mask, text)
    return text


def traceback_text(error: BaseException) -> str:
    """Return an error with its stack trace, without secrets, cut to what can be recorded."""
    # Before it is cut: half a password is none that could be recognised.
    lines = redacted("".join(traceback.format_exception(error))).splitlines(keepends=True)
    return "".join(map(_cut, lines))[-LONGEST_TEXT:]


def _cut(line: str) -> str:
    return line if len(line) <= LONGEST_LINE else f"{line[:LONGEST_LINE]}... ({len(line)} characters)\n"


def _secrets() -> list[str]:
    """Return all spellings of all secret values, the longest first, since one may hold another."""
    values = {spelling(value) for value in _values() for spelling in _SPELLINGS if len(value) >= SHORTEST}
    return sorted(values, key=lambda value: (-len(value), value))


def _values() -> Iterator[str]:
    for name, value in os.environ.items():
        if _SECRET_NAMES.search(name):
            yield value
        elif "://" in value and "@" in value:
            yield from _password(value)


def _password(uri: str) -> Iterator[str]:
    try:
        password = urlsplit(uri).password
    except ValueError:
        return
    if password:
        yield from (password, unquote(password))
