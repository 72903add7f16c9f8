"""What the report runs of a made-up sweep left: predictions that agree with their metrics, and curves."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from orchestrator.tracking.deliverer import Deliverer
from orchestrator.tracking.delivery import Tracker
from trainers.outcomes import OutcomeStore

EXAMPLES = 20


class Kept:
    """Evidence in memory; tests change its tables, by MLflow run id."""

    def __init__(self, sweep: Any, examples: int = EXAMPLES) -> None:
        found = [(trial.id, sweep.outcomes[trial.id].metrics.get("test/f1")) for trial in sweep.trials if trial.id in sweep.outcomes]
        scores = {trial: score for trial, score in found if score is not None and math.isfinite(score)}
        self.tables = {f"run-{trial}": predictions(score, number, examples) for number, (trial, score) in enumerate(scores.items())}
        self.kept_curves: dict[str, dict[str, list[tuple[int, float]]]] = {}
        self.missing: dict[str, str] = {}

    def test(self, run_id: str) -> pa.Table | None:
        return self.tables.get(run_id)

    def curves(self, run_id: str) -> Mapping[str, list[tuple[int, float]]]:
        return self.kept_curves.get(run_id, {})

    def deliver(self, sweep: Any, name: str, uri: str, store: OutcomeStore) -> None:
        """Bring the sweep to MLflow, each report run with its predictions."""
        for trial in sweep.trials:
            staging = store.staging(trial.id, "a")
            if (table := self.test(f"run-{trial.id}")) is not None:
                pq.write_table(table.append_column("split", pa.array(["test"] * table.num_rows)), staging / "predictions.parquet")
            store.commit(trial, sweep.outcomes[trial.id], staging)
        with Deliverer(Tracker(uri, name, sweep.plan.digest), store) as deliverer:
            deliverer.put_sweep({"plan.json": json.dumps(sweep.plan.document())}, "finished", now=1.0)


def predictions(score: float, seed: int, examples: int = EXAMPLES) -> pa.Table:
    """Predictions with a mean `f1` of `score` (a multiple of 1 / examples) and an `em` of half of it; two examples share a passage."""
    difficulty_N = np.random.default_rng(0).normal(size=examples)
    order_N = np.argsort(difficulty_N + 0.7 * np.random.default_rng(seed + 1).normal(size=examples))
    f1_N = np.zeros(examples)
    f1_N[order_N[: round(score * examples)]] = 1.0
    numbers = range(examples)
    return pa.table(
        {
            "id": [f"e{number:04d}" for number in numbers],
            "group": [f"g{number // 2}" for number in numbers],
            "prediction": ["text"] * examples,
            "f1": f1_N,
            "em": f1_N / 2,
        }
    )
