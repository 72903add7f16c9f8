"""What a member of the fleet is handed for one trial. Light: every proxy imports it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from search_spaces.trial import Trial
from trainers.results import Job


def make_job(common: Mapping[str, Any], solo: bool, *, trial: str, attempt: str, **leg: Any) -> Job:
    """Return the job of one hand-out.

    Args:
        common: what all jobs of the sweep share.
        solo: whether the report trials, whose costs the board shows, are profiles; those of the select phase share a process.
        trial: the trial's JSON.
        attempt: name of this hand-out.
        leg: how many trials may share its process, which ones it begins with, and between which rungs it trains now.
    """
    found = Trial.model_validate_json(trial)
    return Job(found, attempt, solo=solo and found.phase == "report", **leg, **common)
