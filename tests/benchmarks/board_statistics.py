"""Comparing all rows of a board and giving all of its intervals, from simulated predictions. `--json` prints one document.

The full size, which is the default, is 20 methods x 6 tasks x 5 seeds x 1,000 examples x 10,000 draws. CPU seconds, which other work
on the machine hardly changes, stand beside wall seconds.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from orchestrator.leaderboard.sample import Sample
from orchestrator.leaderboard.statistics import contrasts
from orchestrator.leaderboard.statistics.comparisons import compare
from orchestrator.leaderboard.statistics.intervals import row_intervals

LIMITS = {"seconds": 5.0, "peak_bytes": 1.5e9}
"""Longest time in all on two idle processors, and largest memory."""
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
    """Compare all rows, and compute the interval of every row on every task and on average."""
    random = np.random.default_rng(0)
    tasks = [simulated(metric, options.methods, options.seeds, options.examples, random) for metric in options.metrics]
    rows = {f"method-{number}": samples for number, samples in enumerate(zip(*tasks, strict=True))}
    compared = timed(lambda: compare(rows, resamples=options.resamples))
    each = [{row: [samples[task]] for row, samples in rows.items()} for task in range(len(tasks))]
    single = timed(lambda: [row_intervals(task, resamples=options.resamples) for task in each])
    average = timed(lambda: row_intervals(rows, resamples=options.resamples))
    total = {key: round(compared[key] + single[key] + average[key], 3) for key in compared}
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {
        "compare": compared,
        "intervals": single,
        "average_intervals": average,
        "total": total,
        "peak_bytes": peak_bytes,
        "limits": LIMITS,
        "missed": [
            *(["seconds"] if total["seconds"] > LIMITS["seconds"] else []),
            *(["peak_bytes"] if peak_bytes > LIMITS["peak_bytes"] else []),
        ],
    }


def main() -> None:
    """Measure, and print how long the statistics of a board take."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--methods", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--examples", type=int, default=1000)
    parser.add_argument("--resamples", type=int, default=10_000)
    parser.add_argument("--metrics", nargs="+", choices=METRICS, default=["accuracy"] * 6, help="one per task")
    options = parser.parse_args()
    row = measure(options)
    size = {name: getattr(options, name) for name in ("methods", "seeds", "examples", "resamples", "metrics")}
    if options.json:
        load = round(os.getloadavg()[0], 2)
        document = {"benchmark": "board_statistics", **size, "threads": contrasts.THREADS, "load": load, **row}
        sys.stdout.write(json.dumps(document) + "\n")
        return
    parts = ", ".join(f"{name.replace('_', ' ')} {row[name]['seconds']:.2f} s" for name in ("compare", "intervals", "average_intervals"))
    total = row["total"]
    sys.stdout.write(
        f"{options.methods} methods x {len(options.metrics)} tasks ({', '.join(dict.fromkeys(options.metrics))}) x {options.seeds} seeds x "
        f"{options.examples:,} examples x {options.resamples:,} draws: {parts}; {total['seconds']:.2f} s in all (at most "
        f"{LIMITS['seconds']:g} s), {total['cpu_seconds']:.2f} CPU seconds, {row['peak_bytes'] / 1e6:.0f} MB"
        f"{'  MISSED: ' + ', '.join(row['missed']) if row['missed'] else ''}\n"
    )


if __name__ == "__main__":
    main()
