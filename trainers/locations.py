"""Where files are kept on a machine."""

from __future__ import annotations

import os
from pathlib import Path


def cache_root() -> Path:
    """Return the folder of what can be made again: `FAIRSWEEP_CACHE`, else `~/.cache/fairsweep`."""
    return Path(os.environ.get("FAIRSWEEP_CACHE") or Path.home() / ".cache" / "fairsweep")
