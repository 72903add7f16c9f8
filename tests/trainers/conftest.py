from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from trainers.storage import Storage

KINDS = ["local", pytest.param("objects", marks=pytest.mark.services)]


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """An empty place in each kind of storage."""
    if request.param == "local":
        return Storage.at(tmp_path / "storage")
    return Storage.at(request.getfixturevalue("object_store").uri(f"{uuid.uuid4().hex}"))
