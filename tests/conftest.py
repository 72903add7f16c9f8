from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

import trainers.determinism  # noqa: F401
from tests.services import object_store as object_stores
from tests.services.required import required

# Tests need no network: a hub that cannot be reached would be retried for half a minute.
os.environ.setdefault("HF_HUB_OFFLINE", "1")


@pytest.fixture(scope="session")
def object_store() -> Iterator[object_stores.ObjectStore]:
    """An S3 server with an empty bucket, and its credentials in the environment. Tests that use it carry the marker `services`."""
    reason = object_stores.missing()
    required(reason is None, reason or "")
    with object_stores.ObjectStore() as store, pytest.MonkeyPatch.context() as patch:
        for name, value in store.environment.items():
            patch.setenv(name, value)
        yield store
