"""Learning-rate schedules, as a factor of the step."""

from __future__ import annotations

import math

from search_spaces.trial import Training


def learning_rate_factor(training: Training, step: int, steps: int) -> float:
    """Return the learning rate of step `step` (from 0) as a share of its peak.

    It rises linearly over the first `warmup_ratio` of the steps (never 0: the first step trains), then falls to 0 after the last step
    (`linear`, `cosine`) or stays (`constant`).
    """
    warmup = math.ceil(training.warmup_ratio * steps)
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if training.scheduler == "constant":
        return 1.0
    done = (step - warmup) / max(1, steps - warmup)
    if training.scheduler == "linear":
        return max(0.0, 1.0 - done)
    return 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
