"""Trials whose process died while others ran in it: one of them did it, and which one is found out by running each alone."""

from __future__ import annotations

from collections.abc import Iterable


class Suspects:
    """Remembers which trials are to run alone: those under suspicion, and those that brought down a process that they had to themselves."""

    def __init__(self) -> None:
        self._incidents: list[set[str]] = []
        self._guilty: set[str] = set()

    def __contains__(self, trial_id: object) -> bool:
        return trial_id in self._guilty or any(trial_id in incident for incident in self._incidents)

    def suspect(self, trial_ids: Iterable[str]) -> None:
        """Note that a process died with these trials in it."""
        self._incidents.append(set(trial_ids))

    def convict(self, trial_id: str) -> None:
        """Note that a trial brought down a process that it had to itself: the others of its incidents are free of suspicion."""
        self._incidents = [incident for incident in self._incidents if trial_id not in incident]
        self._guilty.add(trial_id)

    def clear(self, trial_id: str) -> None:
        """Note that a trial has come to its end."""
        for incident in self._incidents:
            incident.discard(trial_id)
        self._incidents = [incident for incident in self._incidents if incident]
        self._guilty.discard(trial_id)
