"""The fleet: actors that hold a base model and stay alive between trials. What they run is handed in by name."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Mapping
from typing import Any

import ray

from cluster.resources import TrialResources

log = logging.getLogger(__name__)


class Member:
    """The body of a fleet actor: an object made from a factory's name, whose methods are called by name.

    Ray starts it again when its process dies; the call that ran then fails, and the next one finds a fresh object.
    """

    def __init__(self, factory: str, arguments: Mapping[str, Any]) -> None:
        module, _, name = factory.partition(":")
        self._worker = getattr(importlib.import_module(module), name)(**arguments)
        self._progress: Any = None

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a method of the worker."""
        return getattr(self._worker, name)(*arguments)

    def run(self, job: Any) -> Any:
        """Run a job, remembering its signs of life."""
        try:
            return self._worker.run(job, self._remember)
        finally:
            self._progress = None

    def _remember(self, progress: Any) -> None:
        self._progress = progress

    @ray.method(concurrency_group="signals")  # type: ignore[untyped-decorator]
    def progress(self) -> Any:
        """Return the last sign of life of the running job, or None; answers while a job runs."""
        return self._progress

    @ray.method(concurrency_group="signals")  # type: ignore[untyped-decorator]
    def process_id(self) -> int:
        """Return the id of the actor's process."""
        return os.getpid()


class Fleet:
    """The actors of one sweep, owned by its driver: they end with it.

    Attributes:
        members: the actors' handles, by number.
    """

    def __init__(self, factory: str, arguments: Mapping[str, Any], size: int, resources: TrialResources) -> None:
        threads = str(resources.cpus)
        environment = {
            "OMP_NUM_THREADS": threads,
            "MKL_NUM_THREADS": threads,
            "TOKENIZERS_PARALLELISM": "false",
            "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        }
        if not resources.gpus:
            environment["CUDA_VISIBLE_DEVICES"] = ""
        actor = ray.remote(concurrency_groups={"signals": 1})(Member).options(
            max_restarts=-1, max_task_retries=0, runtime_env={"env_vars": environment}, **resources.actor_options()
        )
        self.members = [actor.remote(factory, dict(arguments)) for _ in range(size)]

    def __len__(self) -> int:
        return len(self.members)

    def call_all(self, name: str, *arguments: Any) -> None:
        """Call a method on every member and wait; the first error is raised as it was."""
        try:
            ray.get([member.call.remote(name, *arguments) for member in self.members])
        except ray.exceptions.RayTaskError as error:
            raise (error.cause or error) from None

    def progress(self, timeout_seconds: float = 1.0) -> list[Any]:
        """Return the signs of life that arrive in time."""
        if not self.members:
            return []
        waiting = [member.progress.remote() for member in self.members]
        ready, _ = ray.wait(waiting, num_returns=len(waiting), timeout=timeout_seconds)
        signs = []
        for reference in ready:
            try:
                signs.append(ray.get(reference))
            except ray.exceptions.RayError:
                continue
        return [sign for sign in signs if sign is not None]

    def close(self) -> None:
        """End all members."""
        members, self.members = self.members, []
        for member in members:
            ray.kill(member, no_restart=True)
