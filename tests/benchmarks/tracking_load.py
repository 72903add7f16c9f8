"""How fast 8 sweeps record their trials through one MLflow server, and whether training ever waits for it.

The server is a real one: PostgreSQL behind it, artifacts through it, basic auth with its cache on. Each writer is a process with a
sweep, a store and a Deliverer of its own. At the end all runs are read back and counted. `--trials 2000` is the full size.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import re
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orchestrator.tracking.deliverer import Deliverer
from orchestrator.tracking.delivery import Tracker
from orchestrator.tracking.records import RunReader
from orchestrator.tracking.schema import finals_of
from search_spaces.trial import Trial
from tests.benchmarks.frame import Figure, Target, benchmark_parser, finish, left_out
from tests.services.postgres import Postgres, missing
from tests.services.tracking_server import TrackingServer
from trainers.outcomes import OutcomeStore
from trainers.results import Counts, Outcome, Usage

TARGETS = {
    "lost_doubled_incomplete": Target(0, "lower", "runs"),
    "longest_wait": Target(10.0, "lower", "ms"),
    "rate": Target(5.0, "higher", "trials per second"),
}
BUDGET_SECONDS = 35
WRITERS, METRICS = 8, 100
ADAPTER_BYTES, PREDICTIONS_BYTES = 40_000, 10_000
PUTS = 200
TRIAL: dict[str, Any] = {
    "phase": "select",
    "label": "lora",
    "model": {"id": "micro-llama", "digest": "m0"},
    "task": "squad",
    "data": {"source": "embedded", "train": 8, "selection": 4, "test": 4, "seed": 0, "digest": "d0"},
    "method": {"name": "lora", "version": "v1", "capacity": {"rank": 4}},
    "targets": ["q", "v"],
    "training": {
        "learning_rate": 1e-3,
        "steps": 20,
        "batch_size": 2,
        "optimizer": "adamw",
        "betas": [0.9, 0.999],
        "eps": 1e-8,
        "weight_decay": 0.0,
        "scheduler": "linear",
        "warmup_ratio": 0.06,
        "clip": 1.0,
        "dropout": 0.0,
        "max_length": 64,
        "checkpoint": {"best": "metric", "evaluations": 2},
    },
    "point": {"learning_rate": 1e-3},
    "seed": 100,
}


def outcome_of(trial: Trial) -> Outcome:
    """Return an Outcome of exactly 100 metrics, one of which has a curve."""
    content: dict[str, Any] = {
        "trial_id": trial.id,
        "attempt": "a1",
        "status": "finished",
        "started": 1_700_000_000.0,
        "ended": 1_700_000_060.0,
        "curves": {"selection/m00": [(step, 1.0 / step) for step in range(1, 21)]},
        "counts": Counts(peak=1234, stored=1200),
        "usage": Usage(steps=20),
    }
    others = len(finals_of(Outcome(**content)))
    return Outcome(**content, metrics={f"selection/m{number:02d}": number / 7 for number in range(METRICS - others)})


def fill(store: OutcomeStore, trials: int) -> list[str]:
    """Write the Outcomes of some trials, as their workers would; return the trials' ids."""
    ids = []
    for seed in range(trials):
        trial = Trial.model_validate({**TRIAL, "seed": seed})
        staging = store.staging(trial.id, "a1")
        (staging / "adapter").mkdir()
        (staging / "adapter" / "adapter.safetensors").write_bytes(os.urandom(ADAPTER_BYTES))
        (staging / "adapter" / "adapter.json").write_text("{}")
        (staging / "predictions.parquet").write_bytes(os.urandom(PREDICTIONS_BYTES))
        store.commit(trial, outcome_of(trial), staging)
        ids.append(trial.id)
    return ids


def write(uri: str, folder: str, sweep: str, ids: list[str]) -> tuple[float, float, list[float]]:
    """Deliver trials as a driver does while they end one after another; return when it began and ended, and the seconds of each put."""
    logging.basicConfig(level=logging.ERROR)
    trained, store = OutcomeStore(Path(folder)), OutcomeStore(Path(folder) / "outcomes")
    (Path(folder) / "outcomes").mkdir()
    begun, puts = time.time(), []
    with Deliverer(Tracker(uri, sweep, "d" * 64), store) as deliverer:
        for trial_id in ids:
            # As a worker does when it commits; that an Outcome is written to the disk is no part of the rate.
            trained.folder(trial_id).rename(store.folder(trial_id))
            start = time.perf_counter()
            deliverer.put(trial_id)
            puts.append(time.perf_counter() - start)
        left = deliverer.close(timeout=3600)
    if left:
        raise RuntimeError(f"{sweep}: not delivered: {left}: {deliverer.failures() or deliverer.away}")
    return begun, time.time(), puts


def record(server: TrackingServer, folder: Path, trials: int) -> dict[str, Any]:
    """Let 8 writers record trials at the same time; return the rate and what the server holds afterwards."""
    shares = [trials // WRITERS + (number < trials % WRITERS) for number in range(WRITERS)]
    stores = [folder / f"load-{number}" for number in range(WRITERS)]
    planned = [fill(OutcomeStore(store), share) for store, share in zip(stores, shares, strict=True)]
    requests_before, cpu_before = _requests(server), server.cpu_seconds()
    # The queue is filled at once: the processes' start, of seconds each, is no part of the rate.
    with ProcessPoolExecutor(WRITERS, multiprocessing.get_context("forkserver")) as pool:
        futures = [pool.submit(write, server.uri, str(store), store.name, ids) for store, ids in zip(stores, planned, strict=True)]
        ended = [future.result() for future in futures]
    seconds = max(end for _, end, _ in ended) - min(begun for begun, _, _ in ended)
    requests, cpu = _requests(server) - requests_before, server.cpu_seconds() - cpu_before
    puts = sorted(seconds for _, _, times in ended for seconds in times)
    return {
        "trials": trials,
        "seconds": round(seconds, 1),
        "trials_per_second": round(trials / seconds, 1),
        "requests_per_trial": {name: round(number / trials, 2) for name, number in sorted(requests.items())},
        "requests_per_trial_in_all": round(requests.total() / trials, 2),
        "server_cpu_ms_per_trial": round(1000 * cpu / trials, 1),
        "put_us_median": round(1e6 * statistics.median(puts), 1),
        **_held(server.uri, {store.name: ids for store, ids in zip(stores, planned, strict=True)}),
    }


def _held(uri: str, planned: dict[str, list[str]]) -> dict[str, int]:
    """Read all runs back; count what is lost, doubled or incomplete."""
    from mlflow import MlflowClient

    client, reader = MlflowClient(uri), RunReader(uri)
    lost = doubled = incomplete = 0
    for sweep, ids in planned.items():
        experiment = client.get_experiment_by_name(f"fairsweep/{sweep}").experiment_id
        runs = Counter(_trial_tags(client, experiment))
        lost += len(set(ids) - set(runs))
        doubled += sum(number - 1 for number in runs.values())
        incomplete += sum(not record.delivered or len(record.metrics) != METRICS for record in reader.runs(sweep))
    return {"lost": lost, "doubled": doubled, "incomplete": incomplete}


def _trial_tags(client: Any, experiment: str) -> Iterator[str]:
    token = None
    while True:
        page = client.search_runs([experiment], "tags.`fairsweep.kind` = 'trial'", max_results=1000, page_token=token)
        yield from (run.data.tags["fairsweep.trial"] for run in page)
        token = page.token
        if not token:
            return


def _requests(server: TrackingServer) -> Counter[str]:
    """Return how often each endpoint was called, from the server's log."""
    calls = re.findall(r'"(GET|POST|PUT|PATCH|DELETE) ([^ ?]+)', server.log_text())
    return Counter(f"{verb} {_endpoint(path)}" for verb, path in calls if path != "/health")


def _endpoint(path: str) -> str:
    return "artifact" if "/mlflow-artifacts/" in path else path.partition("/mlflow/")[2] or path


def waits(server: TrackingServer, folder: Path) -> dict[str, Any]:
    """Measure the driver's wait per trial, in microseconds, while the server answers, hangs and is down."""
    store = OutcomeStore(folder / "waits")
    ids = fill(store, 4)
    found = {"up": _put_us(server.uri, store, ids)}
    with server.paused():
        found["hanging"] = _put_us(server.uri, store, ids)
    server.stop()
    found["down"] = _put_us(server.uri, store, ids)
    server.start()
    return {**{f"put_us_{state}": round(value, 1) for state, value in found.items()}}


def _put_us(uri: str, store: OutcomeStore, ids: list[str]) -> float:
    """Return the longest of many puts, in microseconds; the deliverer is busy with the server meanwhile."""
    with _driving(uri, store) as deliverer:
        time.sleep(0.5)
        longest = 0.0
        for number in range(PUTS):
            start = time.perf_counter()
            deliverer.put(ids[number % len(ids)])
            longest = max(longest, time.perf_counter() - start)
    return 1e6 * longest


@contextmanager
def _driving(uri: str, store: OutcomeStore) -> Iterator[Deliverer]:
    deliverer = Deliverer(Tracker(uri, "waits", "d" * 64), store).start()
    try:
        yield deliverer
    finally:
        deliverer.close(timeout=0)


def figures(measured: dict[str, Any]) -> list[Figure]:
    """Return what was reached; a wait is that of the driver, which hands over a trial while the server answers, hangs or is down."""
    wrong = sum(measured[key] for key in ("lost", "doubled", "incomplete"))
    longest = max(value for key, value in measured.items() if key.startswith("put_us_") and key != "put_us_median")
    return [
        TARGETS["lost_doubled_incomplete"].reached("lost_doubled_incomplete", wrong, f"of {measured['trials']}"),
        TARGETS["longest_wait"].reached("longest_wait", longest / 1e3, f"of {PUTS} each"),
        TARGETS["rate"].reached("rate", measured["trials_per_second"], f"{WRITERS} sweeps at once, PostgreSQL, logins"),
    ]


def main() -> None:
    """Start the services, measure both, print."""
    parser = benchmark_parser(__doc__, uses_device=False)
    parser.add_argument("--trials", type=int, default=60, help="trials of all writers together (default 60; 2000 is the full size)")
    options = parser.parse_args()
    options.trials = 16 if options.quick else options.trials
    if reason := missing():
        left_out("tracking_load", options, f"PostgreSQL: {reason}")
        return
    logging.getLogger("orchestrator").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as name, Postgres() as postgres:
        with TrackingServer(postgres.database("mlflow"), auth_uri=postgres.database("users")) as server, server.logged_in():
            measured = {**record(server, Path(name), options.trials), **waits(server, Path(name))}
    finish("tracking_load", options, figures(measured), measured)


if __name__ == "__main__":
    main()
