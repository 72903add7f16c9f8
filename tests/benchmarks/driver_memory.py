"""How much the driver of a long sweep grows, beside an empty Ray Tune run of as many trials.

The sweep is a real one of one-step trials on the micro model: plan, course, Tune, fleet, delivery to MLflow. Growth counts from a tenth
of the trials on, when all that is loaded once is loaded. `--trials 5000` is the full size.
"""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import ray
from ray import tune

from orchestrator.catalog import InstalledCatalog
from orchestrator.plan import load_plan
from orchestrator.sweep.ray_session import ray_session, throw_away_folder
from orchestrator.sweep.runner import Runner, sweep_documents
from search_spaces.trial import Trial
from tests.benchmarks.frame import Target, benchmark_parser, finish, finish_part, in_process
from trainers.results import Outcome, Progress

TARGETS = {
    "growth": Target(1.3, "lower", "x empty run"),
    "failed_or_undelivered": Target(0, "lower", "trials"),
    "placement_groups_left": Target(0, "lower"),
}
BUDGET_SECONDS = 50
SIDE_BY_SIDE = 2
PATIENCE_SECONDS = 20.0
"""How long placement groups may take to go: Ray removes them in the background."""
SWEEP = """
name: memory
model: micro-llama
tasks: [squad]
data: {source: embedded, train: 2, selection: 2, test: 2}
methods:
  lora: {rank: 1}
targets: [q]
grid: {learning_rate: [GRID]}
training: {steps: 1, batch_size: 2, max_length: 32, max_new_tokens: 1, checkpoint: {best: loss, evaluations: 1}}
seeds: {select: [100], report: [0]}
resources: {cpus: 1}
"""


class Memory:
    """Notes the resident set of this process as trials end.

    Args:
        trials: how many will end.
    """

    def __init__(self, trials: int) -> None:
        self._ended, self._marks = 0, {max(1, trials // 10), trials}
        self._bytes: list[int] = []

    def ended(self) -> None:
        """Count a trial."""
        self._ended += 1
        if self._ended in self._marks:
            self._bytes.append(psutil.Process().memory_info().rss)

    def growth_bytes(self) -> int:
        """Return the growth from a tenth of the trials to the last one."""
        return self._bytes[-1] - self._bytes[0]


class Empty(tune.Trainable):  # type: ignore[misc]  # Ray ships no types
    """A trial that does nothing."""

    def step(self) -> dict[str, Any]:
        """End."""
        return {"done": True}

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next trial."""
        return True

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Save nothing."""


class Counting(tune.Callback):  # type: ignore[misc]
    """Tells of the end of each trial."""

    def __init__(self, ended: Callable[[], None]) -> None:
        self._ended = ended

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
        """Count it."""
        self._ended()


class Settled:
    """The display of a sweep, which only counts."""

    def __init__(self, memory: Memory) -> None:
        self._memory = memory

    def planned(self, trials: int, done: int) -> None:
        """Take no note."""

    def started(self, trial: Trial) -> None:
        """Take no note."""

    def settled(self, trial: Trial, outcome: Outcome) -> None:
        """Count it."""
        self._memory.ended()

    def watch(self, signs: Callable[[], list[Progress]], side_by_side: int) -> None:
        """Take no note."""


def empty_run(trials: int) -> dict[str, Any]:
    """Let Ray Tune run trials that do nothing, set up as it is for a sweep."""
    memory = Memory(trials)
    with ray_session(None), throw_away_folder() as scratch:
        placed = tune.with_resources(Empty, tune.PlacementGroupFactory([{"CPU": 0, "memory": 1}]))
        logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
        tune.Tuner(
            placed,
            tune_config=tune.TuneConfig(num_samples=trials, reuse_actors=True, max_concurrent_trials=SIDE_BY_SIDE),
            run_config=tune.RunConfig(storage_path=scratch, name="empty", verbose=0, callbacks=[Counting(memory.ended)]),
        ).fit()
    return {"growth_bytes": memory.growth_bytes()}


def sweep_run(trials: int) -> dict[str, Any]:
    """Run a sweep of as many trials; of these, two report."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rates = ", ".join(f"{1e-4 * (1 + n / trials):.8e}" for n in range(trials - 2))
        (folder / "sweep.yaml").write_text(SWEEP.replace("GRID", rates))
        plan, memory = load_plan(folder / "sweep.yaml", InstalledCatalog()), Memory(trials)
        alive: list[Any] = []
        _before_ray_ends(lambda: alive.extend(_placement_groups()))
        runner = Runner(plan, str(folder / "sweeps"), f"sqlite:///{folder}/mlflow.db", Settled(memory), sweep_documents(plan))
        result = runner.run()
    return {
        "growth_bytes": memory.growth_bytes(),
        "trials": result.trials,
        "failed": len(result.failed),
        "undelivered": len(result.undelivered),
        "placement_groups": len(alive),
    }


def _before_ray_ends(look: Callable[[], None]) -> None:
    """Look once more while the Ray that the sweep started is still there."""
    shutdown = ray.shutdown

    def looked(*arguments: Any, **options: Any) -> None:
        if ray.is_initialized():
            look()
        shutdown(*arguments, **options)

    ray.shutdown = looked


def _placement_groups() -> list[dict[str, Any]]:
    """Return the placement groups that stay alive."""
    end = time.monotonic() + PATIENCE_SECONDS
    while True:
        alive = [group for group in ray.util.placement_group_table().values() if group["state"] != "REMOVED"]
        if not alive or time.monotonic() > end:
            return alive
        time.sleep(0.5)


MEASURED = {"empty": empty_run, "sweep": sweep_run}


def main() -> None:
    """Measure both, and print by how much more the sweep's driver grows."""
    parser = benchmark_parser(__doc__, uses_device=False)
    parser.add_argument("--trials", type=int, default=150, help="of either run (default 150; 5000 is the full size)")
    options = parser.parse_args()
    options.trials = 40 if options.quick else options.trials
    if options.part:
        finish_part(MEASURED[options.part](options.trials))
        return
    empty, sweep = (in_process("tests.benchmarks.driver_memory", part, "--trials", str(options.trials)) for part in ("empty", "sweep"))
    figures = [
        TARGETS["growth"].reached("growth", sweep["growth_bytes"] / empty["growth_bytes"], f"{options.trials} trials"),
        TARGETS["failed_or_undelivered"].reached("failed_or_undelivered", sweep["failed"] + sweep["undelivered"]),
        TARGETS["placement_groups_left"].reached("placement_groups_left", sweep["placement_groups"]),
    ]
    finish("driver_memory", options, figures, {"empty": empty, "sweep": sweep})


if __name__ == "__main__":
    main()
