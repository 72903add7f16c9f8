"""A sweep of one-step trials on the micro model beside Ray Tune with trials that do nothing, each in a process of its own.

Both are whole runs, from the start of Ray to its end. Tune reuses its actors and lets as many trials run at one time as the sweep has
workers; the sweep imports torch, loads a base, trains, evaluates, writes an Outcome for each trial and delivers it to MLflow. Where a
trial's time goes stands in the details. `--trials 200` is the default.
"""

from __future__ import annotations

import argparse
import logging
import tempfile
import time
from pathlib import Path
from typing import Any

from tests.benchmarks.frame import Figure, Target, benchmark_parser, finish, finish_part, in_process, resources_of

TARGETS = {"time": Target(1.5, "lower", "x empty Tune"), "failed_or_undelivered": Target(0, "lower", "trials")}
BUDGET_SECONDS = 50
SIDE_BY_SIDE = 2
QUICK_TRIALS = 20
SWEEP = """
name: orchestration
model: micro-llama
tasks: [squad]
data: {source: embedded, train: 2, selection: 2, test: 2}
methods:
  lora: {rank: 1}
targets: [q]
grid: {learning_rate: [GRID]}
training: {steps: 1, batch_size: 2, max_length: 32, max_new_tokens: 1, checkpoint: {best: loss, evaluations: 1}}
seeds: {select: [100], report: [0]}
resources: RESOURCES
"""


class Times:
    """Notes when trials end; it takes the place of a sweep's display and of a callback of Tune."""

    def __init__(self) -> None:
        self.begun = time.monotonic()
        self._ends: list[float] = []

    def ended(self) -> None:
        """Note the end of a trial."""
        self._ends.append(time.monotonic())

    def settled(self, trial: Any, outcome: Any) -> None:
        """Note the end of a trial of a sweep."""
        self.ended()

    def planned(self, trials: int, done: int) -> None:
        """Take no note."""

    def started(self, trial: Any) -> None:
        """Take no note."""

    def watch(self, signs: Any, side_by_side: int) -> None:
        """Take no note."""

    def document(self) -> dict[str, Any]:
        """Return the seconds of the whole run, up to the first end of a trial, and between two ends."""
        between = (self._ends[-1] - self._ends[0]) / max(1, len(self._ends) - 1)
        return {"seconds": time.monotonic() - self.begun, "first_seconds": self._ends[0] - self.begun, "between_seconds": between}


def empty_run(trials: int) -> dict[str, Any]:
    """Let Ray Tune run trials that do nothing, with its own files switched off as they are for a sweep."""
    times = Times()
    from orchestrator.sweep.ray_session import ray_session, throw_away_folder

    with ray_session(None), throw_away_folder() as scratch:
        from ray import tune

        from tests.benchmarks.driver_memory import Counting, Empty

        logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
        tune.Tuner(
            tune.with_resources(Empty, tune.PlacementGroupFactory([{"CPU": 0, "memory": 1}])),
            tune_config=tune.TuneConfig(num_samples=trials, reuse_actors=True, max_concurrent_trials=SIDE_BY_SIDE),
            run_config=tune.RunConfig(storage_path=scratch, name="empty", verbose=0, callbacks=[Counting(times.ended)]),
        ).fit()
    return times.document()


def sweep_run(trials: int, resources: dict[str, Any]) -> dict[str, Any]:
    """Run a sweep of as many trials; of these, two report."""
    times = Times()
    from orchestrator.catalog import InstalledCatalog
    from orchestrator.plan import load_plan
    from orchestrator.sweep.runner import Runner, sweep_documents

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rates = ", ".join(f"{1e-4 * (1 + n / trials):.8e}" for n in range(trials - 2))
        (folder / "sweep.yaml").write_text(SWEEP.replace("GRID", rates).replace("RESOURCES", str(resources)))
        plan = load_plan(folder / "sweep.yaml", InstalledCatalog())
        runner = Runner(plan, str(folder / "sweeps"), f"sqlite:///{folder}/mlflow.db", times, sweep_documents(plan))
        result = runner.run()
    lost = len(result.failed) + len(result.undelivered)
    return {**times.document(), "failed_or_undelivered": lost, "time": result.time.to_json()}


def measured(options: argparse.Namespace) -> None:
    """Measure one part, in this process."""
    if options.part == "empty":
        finish_part(empty_run(options.trials))
    else:
        finish_part(sweep_run(options.trials, resources_of(options)))


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
