"""A small sweep of real methods whose trials have made-up Outcomes, delivered to a tracking store as a run delivers them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from orchestrator.plan import Plan, make_plan
from orchestrator.sweep.runner import sweep_documents
from orchestrator.tracking.deliverer import Deliverer
from orchestrator.tracking.delivery import Tracker
from search_spaces.spec import SweepSpec
from search_spaces.trial import BASE, Trial, digest
from trainers.outcomes import OutcomeStore
from trainers.results import Outcome

SWEEP = """
name: small
models: [micro-llama]
tasks: [squad, copa]
data: {source: embedded, train: 8, selection: 4, test: 8}
methods:
  lora: {rank: [2, 4]}
  lorta: {rank: [2, 4]}
  ia3: {}
  adapter_pfeiffer: {bottleneck: 2}
targets: [q, v]
grid: {learning_rate: [1.0e-4, 1.0e-3, 1.0e-2]}
training: {steps: 4, batch_size: 2, max_length: 64, checkpoint: {best: metric, evaluations: 2}}
seeds: {select: [100], report: [0, 1, 2]}
"""
LONE = """
name: lone
models: [micro-llama]
tasks: [copa]
data: {source: embedded, train: 8, selection: 4, test: 8}
methods: {lora: {rank: 2}}
targets: [q, v]
grid: {learning_rate: [1.0e-3]}
training: {steps: 2, batch_size: 2, max_length: 64, checkpoint: last}
seeds: {select: [100], report: [0]}
"""
"""One method, one task, one seed."""
EXAMPLES = 240
ERROR = 'Traceback: <script>document.title = "broken in"</script> <img src=x onerror=alert(1)> ran out of patience'
"""What a failed trial says."""
SKILL = {BASE: 0.3, "lora": 0.6, "lorta": 0.58, "vera": 0.53, "ia3": 0.5, "adapter_pfeiffer": 0.63}
ENVIRONMENT = {
    "versions": {"torch": "2.13.0"},
    "hardware": {"device": "cpu"},
    "execution": {"dtype": "float32", "deepspeed": {"zero_stage": 0}, "threads": 1, "workers": 1},
}


@cache
def plan_of(text: str = SWEEP, name: str | None = None) -> Plan:
    """Return the plan of a sweep file, under another name if one is given."""
    from orchestrator.catalog import InstalledCatalog

    content = yaml.safe_load(text)
    return make_plan(SweepSpec.model_validate({**content, "name": name or content["name"]}), InstalledCatalog())


class SmallSweep:
    """A plan with an Outcome for each of its trials.

    Args:
        folder: where the Outcomes lie.
    """

    def __init__(self, plan: Plan, folder: Path) -> None:
        self.plan, self.store = plan, OutcomeStore(folder / plan.spec.name)
        select = {trial.id: self._outcome(trial) for trial in plan.trials}
        points = {cell: selection.point for cell, selection in plan.select(select).items()}
        self.trials: tuple[Trial, ...] = (*plan.trials, *plan.base_trials, *plan.report_trials(points))
        self.outcomes = {trial.id: select.get(trial.id) or self._outcome(trial) for trial in self.trials}

    def reports(self, label: str, task: str = "squad") -> list[Trial]:
        """Return the report trials of a label."""
        return [trial for trial in self.trials if (trial.phase, trial.label, trial.task) == ("report", label, task)]

    def fail(self, trials: Sequence[Trial], status: str) -> None:
        """Let some trials fail."""
        for trial in trials:
            self.outcomes[trial.id] = self._outcome(trial, status)

    def deliver(self, uri: str, status: str = "finished", of: Callable[[Trial], bool] = lambda _: True, now: float = 1.7e9) -> None:
        """Bring trials to a tracking store, and with them the state of the sweep."""
        for trial in filter(of, self.trials):
            staging = self.store.staging(trial.id, "a1")
            if self.outcomes[trial.id].status == "finished":
                pq.write_table(self._predictions(trial), staging / "predictions.parquet")
            self.store.commit(trial, self.outcomes[trial.id], staging)
        with Deliverer(Tracker(uri, self.plan.spec.name, self.plan.digest), self.store) as deliverer:
            deliverer.put_sweep(sweep_documents(self.plan), status, now)
            assert deliverer.close(timeout=300) == ()

    def _outcome(self, trial: Trial, status: str = "finished") -> Outcome:
        report, base = trial.phase == "report", trial.label == BASE
        split = "test" if report else "selection"
        scores = {name: float(np.mean(values)) for name, values in _row_scores(trial).items()}
        size = float(trial.method.capacity.get("rank", 3))
        content: dict[str, Any] = {
            "trial_id": trial.id,
            "attempt": "a1",
            "status": status,
            "started": 1_700_000_000.0 + trial.seed,
            "ended": 1_700_000_030.0 + trial.seed,
            "metrics": {f"{split}/{name}": score for name, score in scores.items()} | {f"{split}/loss": 2 - sum(scores.values())},
            "curves": {} if base else {"train/loss": [(step, 2.0 / step + size / 10) for step in range(1, 5)]},
            "usage": {"test_reads": int(report), **({} if base else {"steps": 4, "examples": 8, "text_tokens": 400, "evaluations": 2})},
            "profile": {
                "seconds_per_step": 0.2 + size / 50,
                "train_seconds": 20,
                "wall_seconds": 30,
                "peak_bytes": 10**9 + int(size * 1e7),
                "adapter_bytes": int(size * 4096),
            },
            "data_digests": {
                **({} if base else {"train": "t", "selection": "s", "order": f"o{trial.seed}"}),
                **({"test": "x"} if report else {}),
            },
            "environment": ENVIRONMENT,
            "environment_digest": digest(ENVIRONMENT)[:16],
        }
        if base:
            content["profile"] = {"peak_bytes": 10**9}
        if status != "finished":
            content |= {"metrics": {}, "usage": {}, "data_digests": {}, "curves": {}, "error": ERROR}
        return Outcome.model_validate(content)

    def _predictions(self, trial: Trial) -> pa.Table:
        count = EXAMPLES
        columns: dict[str, Any] = {
            "split": ["test" if trial.phase == "report" else "selection"] * count,
            "id": [f"{trial.task}-{n}" for n in range(count)],
            "group": [f"{trial.task}-passage-{n // 3}" for n in range(count)],
            "prediction": [f"answer {n}" for n in range(count)],
        }
        return pa.table({**columns, **_row_scores(trial)})


def _row_scores(trial: Trial) -> dict[str, np.ndarray[Any, np.dtype[np.float64]]]:
    """Metric -> what a trial scores on each example: the better the method and the nearer its learning rate to 1e-3, the more."""
    # The same luck for all points of a grid, so that the middle one is selected.
    luck = f"{trial.label} {trial.method.capacity} {trial.task} {trial.seed}"
    own = np.random.default_rng(int(hashlib.sha256(luck.encode()).hexdigest()[:12], 16))
    difficulty = np.random.default_rng(len(trial.task)).normal(0, 0.2, EXAMPLES)
    rate = float(trial.point.get("learning_rate") or 1e-3)
    skill = SKILL[trial.label] + 0.02 * np.log2(float(trial.method.capacity.get("rank", 2))) - 0.06 * abs(np.log10(rate) + 3)
    right = (own.random(EXAMPLES) < np.clip(skill + difficulty + own.normal(0, 0.01), 0, 1)).astype(np.float64)
    if trial.task == "squad":
        return {"em": right, "f1": np.maximum(right, own.choice([0.0, 0.5], EXAMPLES))}
    return {"accuracy": right}
