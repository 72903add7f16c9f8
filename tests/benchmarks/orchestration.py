"""A sweep of one-step trials on the micro model beside Ray Tune with trials that do nothing, each in a process of its own.

Both are whole runs, from the start of Ray to its end. Tune reuses its actors and lets as many trials run at one time as the sweep has
workers; the sweep imports torch, loads a base, trains, evaluates, writes an Outcome for each trial and delivers it to MLflow. Where a
trial's time goes stands in the details. `--trials 200` is the default.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from tests.benchmarks.frame import Figure, Target, benchmark_parser, finish, finish_part, in_process, resources_of
from tests.benchmarks.one_step import OnTrialEnd, empty_run, sweep_run

TARGETS = {"time": Target(1.5, "lower", "x empty Tune"), "failed_or_undelivered": Target(0, "lower", "trials")}
BUDGET_SECONDS = 45
QUICK_TRIALS = 20


class Ends:
    """Notes when trials end."""

    def __init__(self) -> None:
        self._begun = time.monotonic()
        self._ends: list[float] = []

    def __call__(self) -> None:
        """Note the end of a trial."""
        self._ends.append(time.monotonic())

    def document(self) -> dict[str, Any]:
        """Return the seconds of the whole run, up to the first end of a trial, and between two ends."""
        between = (self._ends[-1] - self._ends[0]) / max(1, len(self._ends) - 1)
        return {"seconds": time.monotonic() - self._begun, "first_seconds": self._ends[0] - self._begun, "between_seconds": between}


def measured_empty(trials: int) -> dict[str, Any]:
    """Measure Tune with trials that do nothing."""
    ends = Ends()
    empty_run(trials, ends)
    return ends.document()


def measured_sweep(trials: int, resources: dict[str, Any]) -> dict[str, Any]:
    """Measure the sweep."""
    ends = Ends()
    result = sweep_run(trials, resources, OnTrialEnd(ends))
    lost = len(result.failed) + len(result.undelivered)
    return {**ends.document(), "failed_or_undelivered": lost, "time": result.time.to_json()}


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
    return [
        TARGETS["time"].reached("time", sweep["seconds"] / empty["seconds"], note),
        Figure("time_of_a_trial", sweep["between_seconds"] / empty["between_seconds"], None, "lower", "x empty Tune", between),
        TARGETS["failed_or_undelivered"].reached("failed_or_undelivered", sweep["failed_or_undelivered"]),
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
