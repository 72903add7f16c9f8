"""Vega, Vega-Lite and Vega-Embed as one script, made once per version and kept on disk."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import uuid
from functools import cache
from importlib.metadata import version
from pathlib import Path

from trainers.locations import cache_root

log = logging.getLogger(__name__)

_SNIPPET = "window.vegaEmbed = vegaEmbed;"


@cache
def charting_bundle() -> str:
    """Return the script that defines `vegaEmbed`. It loads nothing."""
    folder, stem = cache_root() / "page", f"vega-{version('vl-convert-python')}"
    found = _kept(folder, stem)
    if found is None:
        found = _made()
        _keep(folder, stem, found)
    return found


def _made() -> str:
    # Large, and not needed where the script is at hand.
    import vl_convert

    # No text in a script may look like the end of its element.
    return vl_convert.javascript_bundle(_SNIPPET).replace("</script", "<\\/script")


def _kept(folder: Path, stem: str) -> str | None:
    """Return the script whose content is what its name says; a damaged one is made anew."""
    for path in sorted(folder.glob(f"{stem}-*.js")):
        with contextlib.suppress(OSError, UnicodeDecodeError):
            text = path.read_bytes().decode()
            if path.name == _name(stem, text):
                return text
    return None


def _keep(folder: Path, stem: str, text: str) -> None:
    path = folder / _name(stem, text)
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(text.encode())
        os.replace(draft, path)
    except OSError as error:
        # The page itself is fine: the next one makes the script again.
        log.warning("cannot keep the charting script in %s: %s. Fix: free space there, or move the cache by FAIRSWEEP_CACHE", path, error)
        with contextlib.suppress(OSError):
            draft.unlink()


def _name(stem: str, text: str) -> str:
    return f"{stem}-{hashlib.sha256(text.encode()).hexdigest()}.js"
