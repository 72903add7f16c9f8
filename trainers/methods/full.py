"""Full fine-tuning: every parameter of the base."""

from __future__ import annotations

from trainers.adapters.trained_copies import TrainedCopies
from trainers.api import MethodCard


class Full(TrainedCopies):
    """Trains all parameters of the base, as fp32 copies. Tied parameters stay tied: they have one copy."""

    card = MethodCard(
        name="full",
        family="full",
        reference="arXiv 1710.03740",
        source="fp32 master weights as in section 3.1 of the reference",
        default_targets=(),
        draws=False,
        reads=("learning_rate",),
        base_weights="copied",
    )


METHOD = Full
