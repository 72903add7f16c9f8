"""Successive halving beside the full grid: 27 points, four methods, the micro encoder; both run for real, on one process.

`steps` is what the select phase of the halved sweep trained, as a share of that of the full grid. `score` is how far the test scores of its
selected points lie below those of the points that the full grid selects, means over the report seeds, in standard deviations of the full
grid's report runs over their seeds, or in test examples where one is more (the seeds of a row may all agree): that of the row that loses
the most. `same` is the share of rows that select the very point.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks.frame import Target, benchmark_parser, finish

if TYPE_CHECKING:
    from orchestrator.plan import Plan
    from search_spaces.trial import Trial
    from trainers.results import Outcome
    from trainers.worker import Worker

TARGETS = {
    "steps": Target(0.4, "lower", "x the full grid"),
    "score": Target(1.0, "lower", "seed deviations below"),
    "same": Target(None, "higher", "of the rows"),
    "seconds": Target(None, "lower", "x the full grid"),
}
BUDGET_SECONDS = 90
TEST_EXAMPLES = 48
SWEEP = """
name: halving
model: micro-bert
tasks: [sst2]
data: {{source: embedded, train: 48, selection: 24, test: {test}}}
methods: {{lora: {{rank: [2]}}, ia3: {{}}, lorta: {{rank: [2]}}, bitfit: {{}}}}
grid:
  learning_rate: [1.0e-5, 3.0e-5, 1.0e-4, 3.0e-4, 1.0e-3, 3.0e-3, 1.0e-2, 3.0e-2, 1.0e-1]
  dropout: [0.0, 0.05, 0.1]
training: {{steps: {steps}, batch_size: 4, max_length: 48, checkpoint: {{best: metric, evaluations: 9}}}}
seeds: {{select: [100], report: [0, 1, 2]}}
search: {{accept_edge: true}}
halving: {halving}
"""


class Silent:
    """Watches nothing."""

    def planned(self, trials: int, done: int) -> None:
        """Ignore."""

    def started(self, trial: Trial) -> None:
        """Ignore."""

    def settled(self, trial: Trial, outcome: Outcome) -> None:
        """Ignore."""


def ran(plan: Plan, folder: Path, worker: Worker) -> dict[str, tuple[Trial, Outcome]]:
    """Run a sweep in this process, trial after trial; return what it left, by trial id."""
    from orchestrator.halving import Ladder
    from orchestrator.sweep.changeover import Changeover
    from orchestrator.sweep.climb import Climb
    from orchestrator.sweep.course import Course
    from trainers.outcomes import OutcomeStore
    from trainers.results import Job
    from trainers.storage import Storage

    store, halving = OutcomeStore(folder / "outcomes"), plan.spec.halving
    climb = Climb(Ladder(plan.trials, halving, plan.main_metrics), Storage.at(folder)) if halving else None
    changeover = Changeover(plan, store.ids)
    course = Course(store, plan.exploration, (), changeover.report_trials, Silent(), climb=climb)
    while (trial := course.next()) is not None:
        leg: dict[str, Any] = {"until": course.until(trial.id), "rungs": course.rungs(trial.id)}
        worker.run(Job(trial, uuid.uuid4().hex[:8], str(folder), **leg))
        course.returned(trial.id)
    outcomes = {trial.id: (trial, store.read(trial.id)) for trial in course.trials}
    return {trial_id: (trial, outcome) for trial_id, (trial, outcome) in outcomes.items() if outcome is not None}


def planned(steps: int, halving: str) -> Plan:
    """Return the plan of the sweep."""
    from orchestrator.catalog import InstalledCatalog
    from orchestrator.plan import load_plan

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sweep.yaml"
        file.write_text(SWEEP.format(steps=steps, test=TEST_EXAMPLES, halving=halving))
        return load_plan(file, InstalledCatalog())


def select_steps(found: Mapping[str, tuple[Trial, Outcome]]) -> int:
    """Return the optimiser steps of the select phase."""
    return sum(outcome.usage.steps for trial, outcome in found.values() if trial.phase == "select")


def report_scores(found: Mapping[str, tuple[Trial, Outcome]], main: str) -> dict[str, tuple[dict[str, Any], list[float]]]:
    """Return by label the selected point and the test scores of its report runs; a run that failed scores nothing."""
    rows: dict[str, tuple[dict[str, Any], list[float]]] = {}
    for trial, outcome in found.values():
        if trial.phase == "report":
            rows.setdefault(trial.label, (dict(trial.point), []))[1].append(outcome.metrics.get(f"test/{main}", 0.0))
    return rows


def main() -> None:
    """Run both sweeps and compare them."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--steps", type=int, default=54, help="of a whole trial (default 54)")
    parser.add_argument("--min-steps", type=int, default=6, help="at the first rung (default 6)")
    options = parser.parse_args()
    if options.quick:
        options.steps, options.min_steps = 18, 2
    from trainers.worker import Worker

    worker, found, seconds = Worker(), {}, {}
    plans = {"full": planned(options.steps, "null"), "halved": planned(options.steps, f"{{reduction: 3, min_steps: {options.min_steps}}}")}
    with tempfile.TemporaryDirectory() as folder:
        worker.prepare(plans["full"].trials[0].model, [])
        for name, plan in plans.items():
            begun = time.perf_counter()
            found[name] = ran(plan, Path(folder) / name, worker)
            seconds[name] = time.perf_counter() - begun
    main_metric = plans["full"].main_metrics["sst2"]
    full, halved = (report_scores(found[name], main_metric) for name in ("full", "halved"))
    losses = {
        label: (statistics.mean(scores) - statistics.mean(halved[label][1])) / max(1 / TEST_EXAMPLES, statistics.stdev(scores))
        for label, (_, scores) in full.items()
    }
    same = statistics.mean(full[label][0] == halved[label][0] for label in full)
    steps = {name: select_steps(trials) for name, trials in found.items()}
    worst = max(losses, key=losses.__getitem__)
    finish(
        "halving",
        options,
        [
            TARGETS["steps"].reached("steps", steps["halved"] / steps["full"], f"{steps['halved']} of {steps['full']} steps"),
            TARGETS["score"].reached("score", losses[worst], f"{worst}, the worst of {len(losses)} rows"),
            TARGETS["same"].reached("same", same),
            TARGETS["seconds"].reached("seconds", seconds["halved"] / seconds["full"], "report phase included, the same in both"),
        ],
        details={"rows": {"full": full, "halved": halved}, "losses": losses, "seconds": seconds},
    )


if __name__ == "__main__":
    main()
