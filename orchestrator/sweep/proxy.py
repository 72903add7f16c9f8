"""Tune's trainable: a thin proxy that hands a trial to a group of the fleet and waits for it."""

from __future__ import annotations

import time
import uuid
from typing import Any

import ray
from ray import tune

from cluster.handout import Ending, Limits, hand_out
from search_spaces.errors import StorageError


class Proxy(tune.Trainable):  # type: ignore[misc]
    """Runs one trial on one group. It never fails: what became of the trial is read from its Outcome."""

    def setup(self, config: dict[str, Any], *, job: Any, limits: Limits) -> None:
        """Take what all trials have in common.

        Args:
            config: the searcher's suggestion: a trial's JSON and the names of the group's actors.
            job: makes the worker's argument from a trial's JSON and the name of the attempt.
            limits: how long a trial is waited for.
        """
        self._job, self._limits = job, limits
        self._names: list[str] = []
        self._members: list[Any] = []

    def step(self) -> dict[str, Any]:
        """Run the trial on all ranks; report how that ended."""
        job = self._job(self.config["trial"], uuid.uuid4().hex[:8])
        began = time.time()
        try:
            ending = hand_out(self._group(self.config["members"]), job, self._limits)
        except ValueError as error:  # Ray's word for an actor that has died
            ending = Ending(str(error).partition("\n")[0], broken=True, begun=False)
        return {
            "done": True,
            "settled": 1,
            "reason": ending.reason,
            # What rank 0 cannot write, no other group can.
            "fatal": str(ending.error) if isinstance(ending.error, StorageError) else "",
            "broken": ending.broken,
            "begun": ending.begun,
            "began": began,
            "ended": time.time(),
        }

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial."""
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Load nothing."""

    def _group(self, names: list[str]) -> list[Any]:
        if names != self._names:
            self._members = [ray.get_actor(name) for name in names]
            self._names = names
        return self._members
