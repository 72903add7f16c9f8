"""AdamW, the optimiser of every sweep that names no other."""

from __future__ import annotations

import torch

from search_spaces.trial import Training
from trainers.api import OptimizerCard
from trainers.optimizer import Groups, Optimizer


class AdamW(Optimizer):
    """torch's AdamW: Adam with decoupled weight decay."""

    card = OptimizerCard(
        name="adamw",
        reference="arXiv 1711.05101",
        source="torch.optim.AdamW",
        reads=("learning_rate", "head_learning_rate", "betas", "eps", "weight_decay", "scheduler", "warmup_ratio", "clip"),
        elementwise=True,
        kernels=True,
    )

    @classmethod
    def build(cls, groups: Groups, training: Training) -> torch.optim.Optimizer:
        """Return torch's own optimiser."""
        return torch.optim.AdamW(
            groups, lr=training.learning_rate, betas=training.betas, eps=training.eps, weight_decay=training.weight_decay
        )


OPTIMIZER = AdamW
