"""The content security policy of the page: nothing but the texts that it was made of runs or styles it."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable


def content_policy(*, scripts: Iterable[str], styles: Iterable[str], live: bool) -> str:
    """Return the policy for inline scripts and styles, which are named by their digest.

    Args:
        live: whether the page may ask its own server for newer documents; a file may ask nothing of anybody.
    """
    directives = {
        "default-src": "'none'",
        "script-src": " ".join(map(_digest, scripts)),
        "style-src": " ".join(map(_digest, styles)),
        "img-src": "data:",
        "connect-src": "'self'" if live else "'none'",
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    return "; ".join(f"{name} {sources}" for name, sources in directives.items())


def _digest(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
