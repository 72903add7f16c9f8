"""How long `fairsweep leaderboard` takes on a large sweep, from the process's start to its end: the first time, again, and after a change.

A sweep of 20 methods and 6 tasks is written to SQLite, and to PostgreSQL where that is installed. `--runs 10000` and `--runs 100000` are
the full sizes. Times are in processor seconds of the command's process, which other work on the machine hardly changes, relative to those
of `import mlflow` in a process of its own in the same run. The limits are those of the default size.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator.plan import Plan
from orchestrator.tracking.connection import connect
from tests.benchmarks.frame import Figure, Target, benchmark_parser, finish
from tests.services.filled_store import FilledStore, large_plan
from tests.services.postgres import Postgres, missing

LEADERBOARD = [sys.executable, "-m", "orchestrator.cli", "leaderboard"]
IMPORT = [sys.executable, "-c", "import mlflow"]
TARGETS = {
    "first": Target(8.0, "lower", "x import mlflow"),
    "again": Target(1.0, "lower", "x import mlflow"),
    "after_a_change_elsewhere": Target(3.0, "lower", "x import mlflow"),
    "after_a_deletion": Target(8.0, "lower", "x import mlflow"),
}
BUDGET_SECONDS = 30
REPEATS = 3


def seconds(uri: str, folder: Path, command: Sequence[str] = LEADERBOARD) -> tuple[float, float]:
    """Return the wall and CPU seconds of a command, start of the process included."""
    environment = {**os.environ, "FAIRSWEEP_CACHE": str(folder / "cache"), "MLFLOW_TRACKING_URI": uri}
    start = time.perf_counter()
    with (folder / "board.txt").open("wb") as output, (folder / "messages").open("wb") as messages:
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=messages)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}: {(folder / 'messages').read_text()[-2000:]}")
    return time.perf_counter() - start, usage.ru_utime + usage.ru_stime


def measured(uri: str, plan: Plan, folder: Path) -> dict[str, Any]:
    """Fill a database; return what the command takes on it."""
    folder.mkdir()
    store, start = FilledStore(uri, plan, folder / "artifacts"), time.perf_counter()
    runs = store.fill()
    filled = time.perf_counter() - start
    first = seconds(uri, folder)
    if "Certificate: holds" not in (board := (folder / "board.txt").read_text()):
        raise RuntimeError(f"the board is not that of a complete sweep:\n{board[:2000]}")
    again, imported = seconds(uri, folder), seconds(uri, folder, IMPORT)
    for _ in range(REPEATS - 1):
        again, imported = min(again, seconds(uri, folder)), min(imported, seconds(uri, folder, IMPORT))
    _change_elsewhere(uri)
    elsewhere = seconds(uri, folder)
    _delete_one(uri, store)
    changed = seconds(uri, folder)
    times = {"first": first, "again": again, "after_a_change_elsewhere": elsewhere, "after_a_deletion": changed, "import": imported}
    return {
        "runs": runs,
        "fill_seconds": round(filled, 1),
        **{f"{name}_seconds": round(wall, 2) for name, (wall, _) in times.items()},
        **{f"{name}_cpu_seconds": round(cpu, 2) for name, (_, cpu) in times.items()},
    }


def _change_elsewhere(uri: str) -> None:
    client = connect(uri)
    client.create_run(client.create_experiment("another"))


def _delete_one(uri: str, store: FilledStore) -> None:
    client = connect(uri)
    runs = client.search_runs([str(store.experiment)], "tags.`fairsweep.phase` = 'select'", max_results=1)
    client.delete_run(runs[0].info.run_id)


@contextmanager
def databases(folder: Path, wanted: str) -> Iterator[dict[str, str]]:
    """Give an empty database of each kind that is wanted and installed."""
    found = {"sqlite": f"sqlite:///{folder}/mlflow.db"} if wanted != "postgresql" else {}
    if wanted == "sqlite":
        yield found
        return
    if reason := missing():
        sys.stderr.write(f"PostgreSQL is left out: {reason}\n")
        yield found
        return
    with Postgres() as postgres:
        yield found | {"postgresql": postgres.database("mlflow")}


def _figures(row: dict[str, Any]) -> Iterator[Figure]:
    """Give what was reached on one database."""
    for name, target in TARGETS.items():
        took, wall = row[f"{name}_cpu_seconds"], row[f"{name}_seconds"]
        yield target.reached(f"{name}, {row['store']}", took / row["import_cpu_seconds"], f"{row['runs']:,} runs, {wall:.2f} s")


def main() -> None:
    """Fill each database, measure, print."""
    parser = benchmark_parser(__doc__, uses_device=False)
    parser.add_argument("--runs", type=int, default=400, help="runs of the sweep (default 400; 10000 and 100000 are the full sizes)")
    parser.add_argument("--store", choices=["all", "sqlite", "postgresql"], default="sqlite")
    options = parser.parse_args()
    if options.quick:
        options.runs, options.store = 250, "sqlite"
    plan = large_plan(options.runs)
    with tempfile.TemporaryDirectory() as name, databases(Path(name), options.store) as uris:
        rows = [{"store": kind, **measured(uri, plan, Path(name) / kind)} for kind, uri in uris.items()]
    finish("leaderboard_scale", options, [figure for row in rows for figure in _figures(row)], {"rows": rows})


if __name__ == "__main__":
    main()
