from __future__ import annotations

import os

import trainers.determinism  # noqa: F401

# Tests need no network: a hub that cannot be reached would be retried for half a minute.
os.environ.setdefault("HF_HUB_OFFLINE", "1")
