"""How long a plan takes, from the start of the process: sweeps of 1,000, 10,000 and 100,000 trials, each planned in a process of its own.

Each is read, expanded, counted and certified, and written as `fairsweep plan --json` and as the `plan.json` of a run. The sweep has 20
methods and 6 tasks; its grid is as long as it takes. `linear` compares what a trial of the largest sweep costs with what one of the
second costs, in processor seconds, beyond the same sweep with two grid points, which was planned before in the same process: imports and
the counting of parameters do not depend on the grid.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from orchestrator.catalog import InstalledCatalog
from orchestrator.plan import load_plan
from tests.benchmarks.frame import Figure, Target, benchmark_parser, finish, finish_part, in_process
from tests.services.filled_store import METHODS, TASKS

TARGETS = {
    "seconds": Target(20.0, "lower", "s"),
    "peak_memory": Target(2.0, "lower", "GB"),
    "linear": Target(1.3, "lower", "x per trial"),
}
BUDGET_SECONDS = 30
SIZES = (1_000, 10_000, 100_000)
REPORT_SEEDS = 5


def sweep_text(trials: int) -> str:
    """Return a sweep file of about so many trials, those of the report phase and the untuned model included."""
    cells = len(METHODS) * len(TASKS)
    points = max(2, round((trials - len(TASKS)) / cells) - REPORT_SEEDS)
    spec = {
        "name": "scale",
        "model": "micro-llama",
        "tasks": list(TASKS),
        "data": {"source": "embedded", "train": 64, "selection": 16, "test": 16},
        "methods": METHODS,
        "targets": ["q", "v"],
        "grid": {"learning_rate": [float(f"{rate:.9e}") for rate in np.geomspace(1e-5, 1e-1, points)]},
        "training": {"steps": 20},
        "seeds": {"select": [100], "report": list(range(REPORT_SEEDS))},
    }
    return yaml.safe_dump(spec, sort_keys=False)


def planned(trials: int) -> dict[str, Any]:
    """Plan a sweep and write it down; return what it takes."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "scale.yaml"
        file.write_text(sweep_text(trials), encoding="utf-8")
        start, begun = time.process_time(), time.perf_counter()
        plan = load_plan(file, InstalledCatalog())
        made = time.process_time()
        printed, document = json.dumps(plan.to_json()), json.dumps(plan.document())
        written, ended = time.process_time(), time.perf_counter()
    if not plan.certificate.ok:
        raise RuntimeError("the certificate of the sweep does not hold")
    return {
        "trials": len(plan.trials) + plan.report_count,
        "plan_cpu_seconds": made - start,
        "write_cpu_seconds": written - made,
        "seconds": ended - begun,
        "bytes": len(printed) + len(document),
    }


def trial_seconds(row: Mapping[str, Any]) -> float:
    """Return the processor seconds of one more trial."""
    took = [row[size]["plan_cpu_seconds"] + row[size]["write_cpu_seconds"] for size in ("smallest", "sweep")]
    return float((took[1] - took[0]) / (row["sweep"]["trials"] - row["smallest"]["trials"]))


def command_seconds(row: Mapping[str, Any]) -> float:
    """Return how long a process takes that plans the sweep alone: imports count, the two plans of the smallest sweep do not."""
    return float(row["process_seconds"] - 2 * row["smallest"]["seconds"])


def main() -> None:
    """Plan each size in its own process; show the largest, and whether the time grows with the number of trials."""
    parser = benchmark_parser(__doc__, uses_device=False)
    parser.add_argument("--sizes", nargs=3, type=int, default=SIZES, help="numbers of trials, rising")
    options = parser.parse_args()
    if options.part:
        # The first plan also imports what is imported late.
        planned(1)
        finish_part({"smallest": planned(1), "sweep": planned(int(options.part))})
        return
    if options.quick:
        options.sizes = [500, 1_000, 2_000]
    rows = []
    for size in options.sizes:
        sys.stderr.write(f"{size:,} trials\n")
        rows.append(in_process("tests.benchmarks.plan_scale", str(size)))
    finish("plan_scale", options, _figures(rows), {"rows": rows})


def _figures(rows: list[dict[str, Any]]) -> list[Figure]:
    _, middle, large = rows
    note = f"{large['sweep']['trials']:,} trials"
    each = f"{1e6 * trial_seconds(large):.0f} us of processor time each"
    small = f"beside {middle['sweep']['trials']:,}: {1e6 * trial_seconds(middle):.0f} us each"
    return [
        TARGETS["seconds"].reached("seconds", command_seconds(large), f"{note}, {each}"),
        TARGETS["peak_memory"].reached("peak_memory", large["peak_bytes"] / 1e9, note),
        TARGETS["linear"].reached("linear", trial_seconds(large) / trial_seconds(middle), small),
    ]


if __name__ == "__main__":
    main()
