"""How much the driver of a long sweep grows, beside an empty Ray Tune run of as many trials.

The sweep is a real one of one-step trials on the micro model: plan, course, Tune, fleet, delivery to MLflow. Growth counts from a tenth
of the trials on, when all that is loaded once is loaded. `--trials 5000` is the full size.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import psutil
import ray

from tests.benchmarks.frame import Target, benchmark_parser, finish, finish_part, in_process
from tests.benchmarks.one_step import OnTrialEnd, empty_run, sweep_run

TARGETS = {
    "growth": Target(1.3, "lower", "x empty run"),
    "failed_or_undelivered": Target(0, "lower", "trials"),
    "placement_groups_left": Target(0, "lower"),
}
BUDGET_SECONDS = 40
PATIENCE_SECONDS = 20.0
"""How long placement groups may take to go: Ray removes them in the background."""


class Memory:
    """Notes the resident set of this process as trials end.

    Args:
        trials: how many will end.
    """

    def __init__(self, trials: int) -> None:
        self._ended, self._marks = 0, {max(1, trials // 10), trials}
        self._bytes: list[int] = []

    def __call__(self) -> None:
        """Count a trial."""
        self._ended += 1
        if self._ended in self._marks:
            self._bytes.append(psutil.Process().memory_info().rss)

    def growth_bytes(self) -> int:
        """Return the growth from a tenth of the trials to the last one."""
        return self._bytes[-1] - self._bytes[0]


def measured_empty(trials: int) -> dict[str, Any]:
    """Measure Tune with trials that do nothing."""
    memory = Memory(trials)
    empty_run(trials, memory)
    return {"growth_bytes": memory.growth_bytes()}


def measured_sweep(trials: int) -> dict[str, Any]:
    """Measure the sweep."""
    memory, alive = Memory(trials), list[Any]()
    _before_ray_ends(lambda: alive.extend(_placement_groups()))
    result = sweep_run(trials, {"cpus": 1}, OnTrialEnd(memory))
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


MEASURED = {"empty": measured_empty, "sweep": measured_sweep}


def main() -> None:
    """Measure both, and print by how much more the sweep's driver grows."""
    parser = benchmark_parser(__doc__, uses_device=False)
    parser.add_argument("--trials", type=int, default=100, help="of either run (default 100; 5000 is the full size)")
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
