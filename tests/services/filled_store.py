"""A tracking store filled with the runs of a large sweep, as delivery would write them, in a fraction of its time.

Outcomes are made up; trials, tags, params and points are what `orchestrator.tracking.schema` makes of them. Rows go into the tables of
MLflow's own store in batches, and the artifacts of report runs into a local folder.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from orchestrator.plan import Plan, make_plan
from orchestrator.tracking import schema
from orchestrator.tracking.bulk import engine_of
from orchestrator.tracking.connection import connect
from orchestrator.tracking.records import RAN
from search_spaces.spec import SweepSpec
from search_spaces.trial import Trial, digest
from trainers.folders import write_checksums
from trainers.results import Outcome

BATCH = 1000
"""Runs per transaction."""
EXAMPLES = 1000
"""Examples of each test split."""
ENVIRONMENT = {
    "versions": {"torch": "2.13.0", "transformers": "5.23.0", "deepspeed": "0.19.8", "peft": "0.21.2", "numpy": "2.3.0"},
    "hardware": {"device": "cpu", "machine": "x86_64", "cores": 2},
    "execution": {"dtype": "float32", "deepspeed": {"zero_stage": 0}, "threads": 1, "workers": 1, "packed": 1},
}
METHODS = {
    **{name: {"rank": [4]} for name in ("lora", "dora_weight", "adalora", "dora_rank", "fact_tk", "fact_tt", "lora_xs", "lorta", "lotr")},
    **{name: {"rank": [4]} for name in ("vera", "cp", "aurora", "surm_kronecker", "surm_ldr", "dylora")},
    **{name: {"bottleneck": [4]} for name in ("adapter_houlsby", "adapter_pfeiffer", "adapter_series")},
    **{name: {} for name in ("bitfit", "ia3")},
}
"""20 methods."""
TASKS = ("squad", "drop", "boolq", "copa", "sst2", "cola")
GENERATED = ("squad", "drop")
"""Tasks whose metrics are means over the examples; those of the others follow from predictions and references."""
REPORT_SEEDS = 5


def large_plan(runs: int, name: str = "large") -> Plan:
    """Return the plan of a sweep of 20 methods and 6 tasks with about so many runs; its grid is as long as it takes."""
    from orchestrator.catalog import InstalledCatalog

    cells = len(METHODS) * len(TASKS)
    points = max(2, (runs - cells * REPORT_SEEDS - len(TASKS)) // cells)
    text = {
        "name": name,
        "models": ["micro-llama"],
        "tasks": list(TASKS),
        "data": {"source": "embedded", "train": 64, "selection": 16, "test": 16},
        "methods": METHODS,
        "targets": ["q", "v"],
        "grid": {"learning_rate": [float(f"{rate:.6e}") for rate in np.geomspace(1e-5, 1e-1, points)]},
        "training": {"steps": 20, "batch_size": 4, "checkpoint": {"best": "metric", "evaluations": 2}},
        "seeds": {"select": [100], "report": list(range(REPORT_SEEDS))},
    }
    return make_plan(SweepSpec.model_validate(text), InstalledCatalog())


class FilledStore:
    """Fills a database with the runs of a plan.

    Args:
        uri: tracking URI of a database.
        plan: what ran.
        artifacts: folder of the artifacts.
    """

    def __init__(self, uri: str, plan: Plan, artifacts: Path) -> None:
        self.uri, self.plan, self.artifacts = uri, plan, artifacts
        client = connect(uri)
        self.experiment = int(client.create_experiment(f"fairsweep/{plan.spec.name}", str(artifacts)))
        engine = engine_of(client)
        assert engine is not None
        self.engine = engine

    def fill(self) -> int:
        """Write all runs; return their number."""
        trials = [*self.plan.trials, *self.plan.base_trials]
        outcomes = {trial.id: made_up(trial, self.plan.main_metrics[trial.task]) for trial in trials}
        points = {cell: selection.point for cell, selection in self.plan.select(outcomes).items()}
        trials += self.plan.report_trials(points)
        self._write_sweep_run()
        for start in range(0, len(trials), BATCH):
            self._write([(trial, made_up(trial, self.plan.main_metrics[trial.task])) for trial in trials[start : start + BATCH]])
        return len(trials)

    def _write(self, some: Sequence[tuple[Trial, Outcome]]) -> None:
        runs: list[dict[str, Any]] = []
        tables: dict[str, list[dict[str, Any]]] = {"tags": [], "params": [], "metrics": [], "latest_metrics": []}
        for trial, outcome in some:
            run_id = uuid.UUID(bytes=hashlib.sha256(f"{self.plan.spec.name}{trial.id}".encode()).digest()[:16]).hex
            digest = self._write_artifacts(run_id, trial, outcome)
            runs.append(self._run(run_id, outcome, schema.run_name(trial)))
            tags = schema.tags_of(trial, outcome, self.plan.spec.name, self.plan.digest, digest) | {schema.DELIVERED: digest}
            tables["tags"] += [{"key": k, "value": v, "run_uuid": run_id} for k, v in tags.items()]
            tables["params"] += [{"key": k, "value": v, "run_uuid": run_id} for k, v in schema.params_of(trial, outcome).items()]
            latest = {p.key: {**p._asdict(), "is_nan": False, "run_uuid": run_id} for p in schema.points_of(outcome)}
            tables["metrics"] += latest.values()
            tables["latest_metrics"] += latest.values()
        self._insert(runs, tables)

    def _insert(self, runs: list[dict[str, Any]], tables: dict[str, list[dict[str, Any]]]) -> None:
        from mlflow.store.tracking.dbmodels.models import SqlRun
        from sqlalchemy import insert

        with self.engine.begin() as connection:
            for name, rows in {"runs": runs, **tables}.items():
                connection.execute(insert(SqlRun.metadata.tables[name]), rows)

    def _run(self, run_id: str, outcome: Outcome, name: str) -> dict[str, Any]:
        return {
            "run_uuid": run_id,
            "name": name,
            "source_type": "UNKNOWN",
            "source_name": "",
            "entry_point_name": "",
            "user_id": "fairsweep",
            "status": schema.RUN_STATUS[outcome.status],
            "start_time": int(outcome.started * 1000),
            "end_time": int(outcome.ended * 1000),
            "source_version": "",
            "lifecycle_stage": "active",
            "artifact_uri": f"{self.artifacts}/{run_id}/artifacts",
            "experiment_id": self.experiment,
        }

    def _write_sweep_run(self) -> None:
        client = connect(self.uri)
        tags = {schema.KIND: "sweep", schema.SWEEP: self.plan.spec.name, schema.DIGEST: self.plan.digest, RAN: "1700000000.0"}
        run = client.create_run(str(self.experiment), tags={**tags, schema.STATUS: "finished"})
        client.log_text(run.info.run_id, json.dumps(self.plan.document()), "plan.json")
        client.set_terminated(run.info.run_id, "FINISHED")

    def _write_artifacts(self, run_id: str, trial: Trial, outcome: Outcome) -> str:
        """Write the files of a report run; return the digest of the Outcome."""
        content = outcome.model_dump_json(indent=1).encode()
        if trial.phase == "report":
            folder = self.artifacts / run_id / "artifacts"
            folder.mkdir(parents=True)
            (folder / "outcome.json").write_bytes(content)
            (folder / "trial.json").write_text(trial.model_dump_json(indent=1))
            pq.write_table(predictions(trial), folder / "predictions.parquet")
            write_checksums(folder)
        return hashlib.sha256(content).hexdigest()


def made_up(trial: Trial, main: str) -> Outcome:
    """Return an Outcome that depends on the trial alone: methods differ by a few points, seeds by one."""
    base, score = trial.method.name == "base", _quality(trial)
    metrics = {f"selection/{main}": score, "selection/loss": 1.0 - score}
    if trial.phase == "report":
        metrics |= {f"test/{name}": value for name, value in _test_scores(trial).items()} | {"test/loss": 1.0 - score}
    digests = {"test": f"x {trial.task}"} if trial.phase == "report" else {}
    tuned = {"train": f"t {trial.task}", "selection": f"s {trial.task}", "order": f"o {trial.task} {trial.seed}"}
    return Outcome.model_validate(
        {
            "trial_id": trial.id,
            "attempt": "a1",
            "status": "finished",
            "started": 1_700_000_000.25,
            "ended": 1_700_000_060.5,
            "metrics": metrics,
            "curves": {} if base else {"train/loss": [(step, 3.0 / step) for step in range(1, 21)], f"selection/{main}": [(20, score)]},
            "best_step": None if base else 20,
            "counts": {"peak": 0 if base else 1000 + int(1000 * _share(trial.method.name)), "stored": 0 if base else 1000},
            "usage": {"test_reads": int(trial.phase == "report")}
            | ({} if base else {"steps": 20, "examples": 80, "text_tokens": 4000, "target_tokens": 400, "evaluations": 2}),
            "profile": {"seconds_per_step": 0.5, "train_seconds": 30, "wall_seconds": 40, "peak_bytes": 10**9, "adapter_bytes": 4936},
            "data_digests": digests if base else tuned | digests,
            "environment": ENVIRONMENT,
            "environment_digest": digest(ENVIRONMENT)[:16],
        }
    )


def predictions(trial: Trial) -> pa.Table:
    """Return the rows of the test split."""
    labels, right = np.arange(EXAMPLES) % 2, _right(trial)
    columns: dict[str, Any] = {
        "split": ["test"] * EXAMPLES,
        "id": [f"{trial.task}-{n}" for n in range(EXAMPLES)],
        "group": [f"{trial.task}-passage-{n // 4}" for n in range(EXAMPLES)],
    }
    if trial.task in GENERATED:
        return pa.table({**columns, "prediction": ["an answer"] * EXAMPLES, "em": right * 1.0, "f1": right * 0.9 + 0.1})
    given = np.where(right, labels, 1 - labels)
    return pa.table({**columns, "prediction": given, "reference": labels, **({} if trial.task == "cola" else {"accuracy": right * 1.0})})


def _test_scores(trial: Trial) -> dict[str, float]:
    """Return what the task's metrics say of `predictions`."""
    right = _right(trial)
    if trial.task in GENERATED:
        return {"em": float(np.mean(right)), "f1": float(np.mean(right * 0.9 + 0.1))}
    if trial.task != "cola":
        return {"accuracy": float(np.mean(right))}
    labels = np.arange(EXAMPLES) % 2
    return {"mcc": float(np.corrcoef(labels, np.where(right, labels, 1 - labels))[0, 1])}


def _right(trial: Trial) -> NDArray[np.bool_]:
    """Return which examples of the test split a trial gets right."""
    return _generator(trial).random(EXAMPLES) < _quality(trial)


def _quality(trial: Trial) -> float:
    """Return the probability that a trial gets an example right."""
    if trial.method.name == "base":
        return 0.3
    rate = trial.training.learning_rate
    noise = np.random.default_rng([1, int(trial.id, 16)]).normal(0, 0.01)
    return float(np.clip(0.6 + _share(trial.method.name) / 10 + noise - 0.02 * abs(np.log10(max(rate, 1e-9)) + 3), 0, 1))


def _generator(trial: Trial) -> np.random.Generator:
    return np.random.default_rng(int(trial.id, 16))


def _share(name: str) -> float:
    """Return a number in 0..1 that a name stands for."""
    return hashlib.sha256(name.encode()).digest()[0] / 255
