"""Tune's trainable: a thin proxy that hands trials to a group of the fleet and waits for them."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any

import ray
from ray import tune

from cluster.handout import Ending, Limits, hand_out
from search_spaces.errors import StorageError

SETTLING_SECONDS = 0.05
"""How long to wait for more endings after one: trials that began together often end together."""


class Proxy(tune.Trainable):  # type: ignore[misc]
    """Runs the trials that begin together in one group. It never fails: what became of a trial is read from its Outcome."""

    def setup(self, config: dict[str, Any], *, job: Any, limits: Limits) -> None:
        """Take what all trials have in common.

        Args:
            config: the searcher's suggestion: by trial id what its job is made of, and the names of the group's actors.
            job: makes the worker's argument from that and the name of the attempt.
            limits: how long a trial is waited for.
        """
        self._job, self._limits = job, limits
        self._names: list[str] = []
        self._members: list[Any] = []
        self._running: dict[Future[dict[str, Any]], str] = {}
        self._threads = ThreadPoolExecutor(thread_name_prefix="hand-out", max_workers=len(config["jobs"]))

    def step(self) -> dict[str, Any]:
        """Run the trials until one of them has ended; report how."""
        if not self._running:
            jobs: Mapping[str, Mapping[str, Any]] = self.config["jobs"]
            self._running = {self._threads.submit(self._hand_out, trial_id, content): trial_id for trial_id, content in jobs.items()}
        wait(self._running, return_when=FIRST_COMPLETED)
        ended, _ = wait(self._running, timeout=SETTLING_SECONDS)
        for future in ended:
            del self._running[future]
        return {
            # At a rung the scheduler says whether there is more to come.
            "done": not self._running and not self.config["pauses"],
            "complete": not self._running,
            "settled": 1,
            "endings": [future.result() for future in ended],
        }

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trials."""
        self._threads.shutdown(wait=False)
        self._threads = ThreadPoolExecutor(thread_name_prefix="hand-out", max_workers=len(new_config["jobs"]))
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing."""

    def load_checkpoint(self, checkpoint: Any) -> None:
        """Load nothing."""

    def _hand_out(self, trial_id: str, content: Mapping[str, Any]) -> dict[str, Any]:
        began = time.time()
        try:
            job = self._job(**content, attempt=uuid.uuid4().hex[:8])
            # In a pack only the worker knows what of its time a trial has waited for others.
            limits = self._limits if content["packed"] == 1 else replace(self._limits, time_limit=None)
            ending = hand_out(self._group(self.config["members"]), job, limits)
        except ValueError as error:  # Ray's word for an actor that has died
            ending = Ending(str(error).partition("\n")[0], broken=True, begun=False)
        return {
            "trial_id": trial_id,
            "reason": ending.reason,
            # What rank 0 cannot write, no other group can.
            "fatal": str(ending.error) if isinstance(ending.error, StorageError) else "",
            "broken": ending.broken,
            "begun": ending.begun,
            "began": began,
            "ended": time.time(),
        }

    def _group(self, names: list[str]) -> list[Any]:
        if names != self._names:
            self._members = [ray.get_actor(name) for name in names]
            self._names = names
        return self._members
