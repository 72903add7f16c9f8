"""Successive halving beside the full grid: 27 points, four methods, MiniLM on sentiments; both run for real.

`steps` is what the select phase of the halved sweep trained, as a share of that of the full grid. `score` is how far the test scores of its
selected points lie below those of the points that the full grid selects: means over methods and report seeds, in standard deviations of
the full grid's report runs over their seeds, pooled over the methods. A single row says little: with three seeds, the means of two equally
good points differ by 0.8 deviations. `same` is the share of rows that select the very point. Rows do not depend on each other, so half of
the methods run in a process of their own, side by side.
"""

from __future__ import annotations

import argparse
import logging
import math
import statistics
import tempfile
import time
import uuid
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks.frame import Target, benchmark_parser, finish, finish_part, in_process
from tests.orchestrator.sweep.stand_ins import Silent

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
BUDGET_SECONDS = 210
TASK, TEST_EXAMPLES = "sst2", 48
METHODS = {"lora": "{rank: [2]}", "ia3": "{}", "lorta": "{rank: [2]}", "bitfit": "{}"}
SIDE_BY_SIDE = 2
SWEEP = """
name: halving
model: minilm-l6
tasks: [{task}]
data: {{source: embedded, train: 128, selection: 24, test: {test}}}
methods: {{{methods}}}
grid:
  learning_rate: [1.0e-5, 3.0e-5, 1.0e-4, 3.0e-4, 1.0e-3, 3.0e-3, 1.0e-2, 3.0e-2, 1.0e-1]
  dropout: [0.0, 0.05, 0.1]
training: {{steps: {steps}, batch_size: 4, max_length: 48, checkpoint: {{best: metric, evaluations: 5}}}}
seeds: {{select: [100], report: [0, 1, 2]}}
search: {{accept_edge: true}}
halving: {halving}
"""


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


def planned(methods: Sequence[str], steps: int, halving: str) -> Plan:
    """Return the plan of the sweep of some methods."""
    from orchestrator.catalog import InstalledCatalog
    from orchestrator.plan import load_plan

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "sweep.yaml"
        rows = ", ".join(f"{label}: {METHODS[label]}" for label in methods)
        file.write_text(SWEEP.format(task=TASK, methods=rows, steps=steps, test=TEST_EXAMPLES, halving=halving))
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


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Run both sweeps with some of the methods, in this process."""
    from trainers.worker import Worker

    logging.disable(logging.WARNING)
    methods, halving = options.methods.split(","), f"{{reduction: 5, min_steps: {options.min_steps}}}"
    plans = {"full": planned(methods, options.steps, "null"), "halved": planned(methods, options.steps, halving)}
    worker = Worker()
    worker.prepare(plans["full"].trials[0].model, [])
    sweeps: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, plan in plans.items():
            begun = time.perf_counter()
            found = ran(plan, Path(folder) / name, worker)
            rows = report_scores(found, plan.main_metrics[TASK])
            sweeps[name] = {"seconds": time.perf_counter() - begun, "steps": select_steps(found), "rows": rows}
    return sweeps


def losses_of(full: Mapping[str, Sequence[float]], halved: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """Return by row how far the halved sweep's scores lie below the full grid's, in the latter's pooled deviation over seeds."""
    pooled = math.sqrt(statistics.mean(statistics.variance(scores) for scores in full.values()))
    return {label: (statistics.mean(scores) - statistics.mean(halved[label])) / pooled for label, scores in full.items()}


def main() -> None:
    """Run both sweeps and compare them."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--steps", type=int, default=25, help="of a whole trial (default 25)")
    parser.add_argument("--min-steps", type=int, default=5, help="at the first rung (default 5)")
    parser.add_argument("--methods", default=",".join(METHODS), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        finish_part(measured(options))
        return
    labels = [*METHODS] if not options.quick else [*METHODS][:SIDE_BY_SIDE]
    sizes = ["--steps", str(options.steps), "--min-steps", str(options.min_steps)]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as threads:
        shares = [labels[start::SIDE_BY_SIDE] for start in range(SIDE_BY_SIDE)]
        parts = [*threads.map(lambda some: in_process(__spec__.name, "rows", *sizes, "--methods", ",".join(some), threads=1), shares)]
    full, halved = ({label: row for part in parts for label, row in part[name]["rows"].items()} for name in ("full", "halved"))
    steps, seconds = ({name: sum(part[name][of] for part in parts) for name in ("full", "halved")} for of in ("steps", "seconds"))
    losses = losses_of(*({label: scores for label, (_, scores) in rows.items()} for rows in (full, halved)))
    worst = max(losses, key=losses.__getitem__)
    finish(
        "halving",
        options,
        [
            TARGETS["steps"].reached("steps", steps["halved"] / steps["full"], f"{steps['halved']} of {steps['full']} steps"),
            TARGETS["score"].reached(
                "score", statistics.mean(losses.values()), f"the worst of {len(losses)} rows {losses[worst]:.1f}: {worst}"
            ),
            TARGETS["same"].reached("same", statistics.mean(full[label][0] == halved[label][0] for label in full)),
            TARGETS["seconds"].reached("seconds", seconds["halved"] / seconds["full"], "report phase included, the same in both"),
        ],
        details={"rows": {"full": full, "halved": halved}, "losses": losses, "seconds": seconds},
    )


if __name__ == "__main__":
    main()
