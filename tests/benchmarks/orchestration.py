"""A sweep of one-step trials on the micro model beside Ray Tune with trials that do nothing, each in a process of its own.

Both are whole runs, from the start of Ray to its end. Tune reuses its actors and lets as many trials run at one time as the sweep has
workers; the sweep imports torch, loads a base, trains, evaluates, writes an Outcome for each trial and delivers it to MLflow. Where a
trial's time goes stands in the details. `growth` is how much larger the driver of a long sweep gets, counted from a tenth of the trials on,
when all that is loaded once is loaded. `--trials 200` is the default, 5000 the full size for `growth`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import psutil

from tests.benchmarks.frame import Figure, Target, benchmark_parser, finish, finish_part, in_process, resources_of
from tests.benchmarks.one_step import OnTrialEnd, empty_run, sweep_run

TARGETS = {
    "time": Target(1.5, "lower", "x empty Tune"),
    "growth": Target(1.3, "lower", "x empty Tune"),
    "failed_or_undelivered": Target(0, "lower", "trials"),
    "placement_groups_left": Target(0, "lower"),
}
BUDGET_SECONDS = 45
QUICK_TRIALS = 20
PATIENCE_SECONDS = 20.0
"""How long placement groups may take to go: Ray removes them in the background."""


class Ends:
    """Notes when trials end, and the size of this process then.

    Args:
        trials: how many will end.
    """

    def __init__(self, trials: int) -> None:
        self._begun, self._marks = time.monotonic(), {max(1, trials // 10), trials}
        self._ends: list[float] = []
        self._bytes: list[int] = []

    def __call__(self) -> None:
        """Note the end of a trial."""
        self._ends.append(time.monotonic())
        if len(self._ends) in self._marks:
            self._bytes.append(psutil.Process().memory_info().rss)

    def document(self) -> dict[str, Any]:
        """Return the seconds of the whole run, up to the first end of a trial, and between two ends; and the growth in bytes."""
        return {
            "seconds": time.monotonic() - self._begun,
            "first_seconds": self._ends[0] - self._begun,
            "between_seconds": (self._ends[-1] - self._ends[0]) / max(1, len(self._ends) - 1),
            "growth_bytes": self._bytes[-1] - self._bytes[0],
        }


def measured_empty(trials: int) -> dict[str, Any]:
    """Measure Tune with trials that do nothing."""
    ends = Ends(trials)
    empty_run(trials, ends)
    return ends.document()


def measured_sweep(trials: int, resources: dict[str, Any]) -> dict[str, Any]:
    """Measure the sweep."""
    ends, alive = Ends(trials), list[Any]()
    _before_ray_ends(lambda: alive.extend(_placement_groups()))
    result = sweep_run(trials, resources, OnTrialEnd(ends))
    lost = len(result.failed) + len(result.undelivered)
    return {**ends.document(), "failed_or_undelivered": lost, "placement_groups_left": len(alive), "time": result.time.to_json()}


def _before_ray_ends(look: Callable[[], None]) -> None:
    """Look once more while the Ray that the sweep started is still there."""
    import ray

    shutdown = ray.shutdown

    def looked(*arguments: Any, **options: Any) -> None:
        if ray.is_initialized():
            look()
        shutdown(*arguments, **options)

    ray.shutdown = looked


def _placement_groups() -> list[dict[str, Any]]:
    """Return the placement groups that stay alive."""
    import ray

    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        alive = [group for group in ray.util.placement_group_table().values() if group["state"] != "REMOVED"]
        if not alive or time.monotonic() > end:
            return alive
        time.sleep(0.5)


def measured(options: argparse.Namespace) -> None:
    """Measure one part, in this process."""
    if options.part == "empty":
        finish_part(measured_empty(options.trials))
    else:
        finish_part(measured_sweep(options.trials, resources_of(options)))


def figures(parts: dict[str, Any], trials: int) -> list[Figure]:
    """Return the figures of the whole runs, and of what a trial takes besides start and end, for which there is no target."""
    empty, sweep = parts["empty"], parts["sweep"]
    note = f"{sweep['seconds']:.1f} s to {empty['seconds']:.1f} s, {trials} trials"
    between = f"{1e3 * sweep['between_seconds']:.0f} ms to {1e3 * empty['between_seconds']:.0f} ms"
    growth = f"{sweep['growth_bytes'] / 1e6:.1f} MB to {empty['growth_bytes'] / 1e6:.1f} MB"
    return [
        TARGETS["time"].reached("time", sweep["seconds"] / empty["seconds"], note),
        Figure("time_of_a_trial", sweep["between_seconds"] / empty["between_seconds"], None, "lower", "x empty Tune", between),
        TARGETS["growth"].reached("growth", sweep["growth_bytes"] / max(1, empty["growth_bytes"]), growth),
        *(TARGETS[name].reached(name, sweep[name]) for name in ("failed_or_undelivered", "placement_groups_left")),
    ]


def main() -> None:
    """Measure both, and print how many times longer the sweep takes."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--trials", type=int, default=200)
    options = parser.parse_args()
    if options.part:
        measured(options)
        return
    options.trials = min(options.trials, QUICK_TRIALS) if options.quick else options.trials
    arguments = ("--trials", str(options.trials), "--device", options.device)
    parts = {part: in_process("tests.benchmarks.orchestration", part, *arguments) for part in ("empty", "sweep")}
    finish("orchestration", options, figures(parts, options.trials), parts)


if __name__ == "__main__":
    main()
