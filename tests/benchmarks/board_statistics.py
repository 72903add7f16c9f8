"""Comparing all rows of a board, on average and on each task, and giving all of its intervals, from simulated predictions.

The full size, which is the default, is 20 methods x 6 tasks x 5 seeds x 1,000 examples x 10,000 draws. CPU seconds, which other work
on the machine hardly changes, stand beside wall seconds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from orchestrator.leaderboard.sample import Sample
from orchestrator.leaderboard.statistics import contrasts
from orchestrator.leaderboard.statistics.comparisons import compare
from orchestrator.leaderboard.statistics.intervals import row_intervals
from tests.benchmarks.frame import Target, benchmark_parser, finish, peak_bytes

TARGETS = {"seconds": Target(5.0, "lower", "s"), "peak_memory": Target(1.5, "lower", "GB")}
BUDGET_SECONDS = 5
METRICS = ("accuracy", "f1", "mcc", "pearson", "spearman")


def simulated(metric: str, methods: int, seeds: int, examples: int, random: np.random.Generator) -> list[Sample]:
    """Return what the methods predict on one task: examples differ in difficulty, methods and seeds in quality."""
    groups_N = np.arange(examples)
    hardness_N, right_N = random.normal(size=examples), random.integers(0, 2, examples)
    samples = []
    for method in range(methods):
        latent_SN = hardness_N + 0.8 + 0.02 * method + 0.1 * random.normal(size=(seeds, 1)) + 0.5 * random.normal(size=(seeds, examples))
        if metric == "accuracy":
            samples.append(Sample(metric, groups_N, values_SN=(latent_SN > 0).astype(float)))
        elif metric in ("f1", "mcc"):
            samples.append(Sample(metric, groups_N, predictions_SN=np.where(latent_SN > 0, right_N, 1 - right_N), references_N=right_N))
        else:
            samples.append(Sample(metric, groups_N, predictions_SN=latent_SN, references_N=hardness_N))
    return samples


def timed(run: Callable[[], object]) -> dict[str, float]:
    """Return the wall and CPU seconds of a function."""
    cpu, wall = time.process_time(), time.perf_counter()
    run()
    return {"seconds": round(time.perf_counter() - wall, 3), "cpu_seconds": round(time.process_time() - cpu, 3)}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Compare all rows in every family of the board, and compute the interval of every row on every task and on average."""
    random = np.random.default_rng(0)
    tasks = [simulated(metric, options.methods, options.seeds, options.examples, random) for metric in options.metrics]
    rows = {f"method-{number}": samples for number, samples in enumerate(zip(*tasks, strict=True))}
    each = [{row: [samples[task]] for row, samples in rows.items()} for task in range(len(tasks))]
    compared = {"on average": timed(lambda: compare(rows, resamples=options.resamples))}
    for number, task in enumerate(each):
        compared[f"task {number}"] = timed(lambda task=task: compare(task, resamples=options.resamples))  # type: ignore[misc]
    single = timed(lambda: [row_intervals(task, resamples=options.resamples) for task in each])
    average = timed(lambda: row_intervals(rows, resamples=options.resamples))
    parts = {"compare": _sum(compared.values()), "intervals": single, "average_intervals": average}
    return {**parts, "total": _sum(parts.values()), "families": compared}


def _sum(times: Iterable[dict[str, float]]) -> dict[str, float]:
    listed = list(times)
    return {key: round(sum(took[key] for took in listed), 3) for key in listed[0]}


def main() -> None:
    """Measure, and print how long the statistics of a board take."""
    parser = benchmark_parser(__doc__, uses_device=False)
    parser.add_argument("--methods", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--metrics", nargs="+", choices=METRICS, default=["accuracy"] * 6, help="one per task")
    options = parser.parse_args()
    if options.quick:
        options.methods, options.resamples = 4, 1000
    row = measure(options)
    parts = ", ".join(f"{name.replace('_', ' ')} {row[name]['seconds']:.2f} s" for name in ("compare", "intervals", "average_intervals"))
    figures = [
        TARGETS["seconds"].reached("seconds", row["total"]["seconds"], f"{parts}; {row['total']['cpu_seconds']:.2f} CPU seconds"),
        TARGETS["peak_memory"].reached("peak_memory", peak_bytes() / 1e9),
    ]
    finish("board_statistics", options, figures, {**row, "numerical_threads": contrasts.THREADS})


if __name__ == "__main__":
    main()
