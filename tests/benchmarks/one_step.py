"""The sweep of one-step trials that several benchmarks run, beside Ray Tune with as many trials that do nothing."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_spaces.trial import Trial
from tests.orchestrator.sweep.stand_ins import Silent
from trainers.results import Outcome

if TYPE_CHECKING:
    from orchestrator.sweep.runner import RunResult

REPORT_TRIALS = 2
"""Of the trials of a sweep: one of the row, and the untuned model's."""
SWEEP = """
name: one-step
model: micro-llama
tasks: [squad]
data: {source: embedded, train: 2, selection: 2, test: 2}
methods:
  lora: {rank: 1}
targets: [q]
grid: {learning_rate: [GRID]}
training: {steps: 1, batch_size: 2, max_length: 32, max_new_tokens: 1, checkpoint: {best: loss, evaluations: 1}}
seeds: {select: [100], report: [0]}
resources: RESOURCES
"""


class OnTrialEnd(Silent):
    """Tells of the end of each trial.

    Args:
        ended: called at each.
    """

    def __init__(self, ended: Callable[[], None]) -> None:
        self._ended = ended

    def settled(self, trial: Trial, outcome: Outcome) -> None:
        """Tell of it."""
        self._ended()


def empty_run(trials: int, ended: Callable[[], None]) -> None:
    """Let Ray Tune run trials that do nothing, one for each processor at a time, its own files switched off as they are for a sweep.

    Args:
        ended: called when a trial has ended.
    """
    from orchestrator.sweep.ray_session import ray_session, throw_away_folder

    with ray_session(None), throw_away_folder() as scratch:
        from ray import tune

        class Empty(tune.Trainable):  # type: ignore[misc]  # Ray ships no types
            """A trial that does nothing."""

            def step(self) -> dict[str, Any]:
                """End."""
                return {"done": True}

            def reset_config(self, new_config: dict[str, Any]) -> bool:
                """Take the next trial."""
                return True

            def save_checkpoint(self, checkpoint_dir: str) -> None:
                """Save nothing."""

        class Ends(tune.Callback):  # type: ignore[misc]
            """Tells of the end of each trial."""

            def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
                """Tell of it."""
                ended()

        logging.getLogger("ray.tune.analysis.experiment_analysis").setLevel(logging.ERROR)
        tune.Tuner(
            tune.with_resources(Empty, {"cpu": 1}),
            tune_config=tune.TuneConfig(num_samples=trials, reuse_actors=True),
            run_config=tune.RunConfig(storage_path=scratch, name="empty", verbose=0, callbacks=[Ends()]),
        ).fit()


def sweep_run(trials: int, resources: Mapping[str, Any], display: Silent) -> RunResult:
    """Run a sweep of as many trials; `REPORT_TRIALS` of these report.

    Args:
        resources: the section of the sweep file.
    """
    from orchestrator.catalog import InstalledCatalog
    from orchestrator.plan import load_plan
    from orchestrator.sweep.runner import Runner, sweep_documents

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        rates = ", ".join(f"{1e-4 * (1 + n / trials):.8e}" for n in range(trials - REPORT_TRIALS))
        (folder / "sweep.yaml").write_text(SWEEP.replace("GRID", rates).replace("RESOURCES", str(dict(resources))))
        plan = load_plan(folder / "sweep.yaml", InstalledCatalog())
        return Runner(plan, str(folder / "sweeps"), f"sqlite:///{folder}/mlflow.db", display, sweep_documents(plan)).run()
