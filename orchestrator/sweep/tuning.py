"""The Tuner and the fleet it schedules; the module that imports Ray."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import ray
from ray import tune
from ray.tune.execution import class_cache

from cluster.fleet import Fleet
from cluster.handout import Limits
from cluster.resources import ResourcesError, TrialResources
from orchestrator.sweep.bases import Bases
from orchestrator.sweep.chains import longest_chain
from orchestrator.sweep.course import Course
from orchestrator.sweep.preparation import Settings, start_group
from orchestrator.sweep.proxy import Proxy
from orchestrator.sweep.scheduler import RungScheduler
from orchestrator.sweep.searcher import ONE_EACH, CourseSearcher
from orchestrator.sweep.timeline import Timeline
from orchestrator.sweep.widths import Widths
from search_spaces.sections import ResourcesSection
from trainers.results import SentinelPost


class Tuning:
    """Lets Ray Tune run a course on a fleet.

    Args:
        factory: of the fleet's workers, as `module:name`.
        resources: what a trial occupies.
        course: what is to run.
        deepspeed: DeepSpeed's settings.
        sentinels: where the sentinels of the fleet's environments are recorded; None runs none.
        widths: how many trials may share a process.

    Raises:
        ResourcesError: not a single trial fits on the cluster.
    """

    def __init__(
        self,
        factory: str,
        resources: ResourcesSection,
        course: Course,
        deepspeed: Settings,
        sentinels: SentinelPost | None = None,
        widths: Widths = ONE_EACH,
    ) -> None:
        self._resources, self._course, self._bases, self._widths = resources, course, Bases(), widths
        self._needs = TrialResources(resources.cpus, resources.gpus, resources.memory, resources.workers)
        size = min(self._room(), 1 if resources.solo else max(1, len(course.trials)))
        self._longest = longest_chain(resources, dict(deepspeed)["zero_optimization"]["stage"], course.climb is not None)
        self.fleet = Fleet(factory, {"threads": resources.cpus}, self._needs, max(widths.most, self._longest))
        question = widths.question and replace(widths.question, side_by_side=math.ceil(size / max(1, len(_nodes()))))
        held: dict[str, Any] = {"fleet": self.fleet, "bases": self._bases, "course": course, "packing": question}
        self._start: Callable[[int], None] = lambda group: start_group(group, deepspeed=deepspeed, sentinels=sentinels, **held)
        for group in range(size):
            self._start(group)

    def run(self, job: Callable[..., Any], scratch: str, timeline: Timeline | None = None) -> dict[str, float]:
        """Run the course until it is finished.

        Args:
            job: makes a worker's argument from a trial's JSON and the name of the attempt.
            scratch: folder for Tune's own files, which nothing reads.
            timeline: is told when which group had a trial.

        Returns:
            By trial id, the seconds that a group stood idle before a trial that could have been handed out.

        Raises:
            FairsweepError: a base model or data cannot be loaded, or no trial finds a place in the cluster.
        """
        self.fleet.wait_until_ready()
        # Tune would otherwise start one trial at a time with a custom searcher; this one suggests no more than can run.
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = "1000"
        _withhold_credentials()
        solo = self._resources.solo
        groups = self.fleet, self._bases, self._start, self._room_now
        searcher = CourseSearcher(self._course, *groups, solo, self._widths, timeline, self._longest)
        limits = Limits(self._resources.stall_limit, self._resources.time_limit)
        trainable = tune.with_parameters(Proxy, job=job, limits=limits)
        # The fleet holds the cores; Tune refuses a trial that reserves nothing. Beside the driver a proxy cannot be lost without it,
        # and keeps no GPU from anyone.
        placed: Any = tune.with_resources(trainable, tune.PlacementGroupFactory([{"CPU": 0, _own_node(): 0.0001}]))
        tuner = tune.Tuner(
            placed,
            tune_config=tune.TuneConfig(
                search_alg=searcher,
                scheduler=RungScheduler(searcher) if self._course.climb else None,
                num_samples=-1,
                reuse_actors=True,
                trial_dirname_creator=lambda trial: str(trial.trial_id),
            ),
            run_config=tune.RunConfig(storage_path=scratch, name="sweep", verbose=0, failure_config=tune.FailureConfig(max_failures=0)),
        )
        # At its end Tune looks for result files of each trial, which nothing writes here, and complains about each.
        logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
        tuner.fit()
        return searcher.pauses

    def _room(self) -> int:
        return self._needs.side_by_side(_nodes())

    def _room_now(self) -> int:
        try:
            return self._room()
        except ResourcesError:
            return 0


def _nodes() -> list[dict[str, float]]:
    """Return the resources of the nodes that are alive."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]


def _withhold_credentials() -> None:
    """Keep Tune from copying cloud credentials into the proxies' runtime environment, which Ray logs and shows to whoever reaches it."""
    class_cache.ENV_VARS_TO_PROPAGATE.difference_update([name for name in class_cache.ENV_VARS_TO_PROPAGATE if name.startswith("AWS_")])


def _own_node() -> str:
    """Return the name of the resource that only the driver's node has."""
    own = ray.get_runtime_context().get_node_id()
    resources = next(node["Resources"] for node in ray.nodes() if node["NodeID"] == own)
    return next(str(name) for name in resources if name.startswith("node:") and name != "node:__internal_head__")
