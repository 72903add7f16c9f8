"""The document as a text that can stand inside a script element."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from typing import Any

from orchestrator.leaderboard.page.lighter import LIGHTER, Document

log = logging.getLogger(__name__)

_UNSAFE = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}
"""What could end the script element or open a comment in it. Everything beyond ASCII is escaped by `json` already."""


def embedded(document: Document) -> str:
    """Return a document as JSON in ASCII without markup; numbers that JSON does not have become null."""
    text = json.dumps(_finite(document), separators=(",", ":"), allow_nan=False)
    for character, escaped in _UNSAFE.items():
        text = text.replace(character, escaped)
    return text


def fitted(document: Document, size: int) -> str:
    """Return a document as `embedded`, made lighter step by step while it is longer than `size` bytes.

    What is left out is said in the document's notes; where that does not suffice, a warning says so.
    """
    text = embedded(document)
    for lighten in LIGHTER:
        if len(text) <= size:
            break
        document = lighten(document)
        text = embedded(document)
    if len(text) > size:
        log.warning("the page of %s holds %d bytes of data, more than the %d that it is to have", document.get("sweep"), len(text), size)
    return text


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
