"""What a test does where a service cannot be had: it skips and says why, or fails where the services are required."""

from __future__ import annotations

import os

import pytest

VARIABLE = "FAIRSWEEP_REQUIRE_SERVICES"


def required(condition: bool, reason: str) -> None:
    """Go on when the service can be had; else skip the test, or fail it where `FAIRSWEEP_REQUIRE_SERVICES=1`.

    Args:
        reason: what is missing, and how to install it.
    """
    if condition:
        return
    if os.environ.get(VARIABLE) == "1":
        pytest.fail(f"{VARIABLE}=1, but {reason}", pytrace=False)
    pytest.skip(reason)
