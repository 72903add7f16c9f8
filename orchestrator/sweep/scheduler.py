"""The TrialScheduler that pauses Ray Tune's trials at the rungs of successive halving, and lets the survivors go on."""

from __future__ import annotations

from typing import Any

from ray.tune.experiment import Trial as TuneTrial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from orchestrator.sweep.searcher import CourseSearcher


class RungScheduler(FIFOScheduler):  # type: ignore[misc]  # Ray ships no types
    """Carries out what the course decides: which trials stand at a rung, go on, or end there.

    A trial that pauses gives its slot back and gets another one when it goes on; its checkpoint is the worker's own, so Tune saves none.
    The decision is made of Outcomes, in the course: one that failed, or whose proxy was lost, keeps nobody waiting here.

    Args:
        searcher: hands out the trials of the course, those that were paused among them.
    """

    def __init__(self, searcher: CourseSearcher) -> None:
        super().__init__()
        self._searcher = searcher
        self._trials: dict[str, TuneTrial] = {}

    def on_trial_result(self, tune_controller: Any, trial: TuneTrial, result: dict[str, Any]) -> str:
        """Pause a trial whose hand-outs have ended and whose leader has no Outcome; stop any other."""
        if not result["complete"]:
            return str(TrialScheduler.CONTINUE)
        if not self._searcher.pause(trial.trial_id, result):
            return str(TrialScheduler.STOP)
        self._trials[trial.trial_id] = trial
        # `PAUSE` would let Tune save a checkpoint.
        tune_controller.pause_trial(trial, should_checkpoint=False)
        return str(TrialScheduler.NOOP)

    def choose_trial_to_run(self, tune_controller: Any) -> TuneTrial | None:
        """Stop the paused trials that are halved out, and return one that goes on, with the slot that it was given."""
        for tune_id in self._searcher.done():
            tune_controller.stop_trial(self._trials.pop(tune_id))
        resumed = self._searcher.resume()
        if resumed is None:
            return None
        trial = self._trials.pop(resumed[0])
        trial.set_config(resumed[1])
        return trial

    def debug_string(self) -> str:
        """Return what is shown of the scheduler."""
        return f"successive halving: {len(self._trials)} trials at their rungs"

    def __getstate__(self) -> dict[str, Any]:
        # Tune may pickle its scheduler into a snapshot that is never read.
        return {}
