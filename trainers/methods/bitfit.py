"""BitFit: the biases of the base and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from search_spaces.errors import NotApplicableError
from trainers.adapters.trained_copies import TrainedCopies
from trainers.api import MethodCard


class BitFit(TrainedCopies):
    """Trains every bias vector of the base's body, those of its normalisations included (Ben Zaken et al. 2022, arXiv 2106.10199).

    The classification head is trained whole, as for every method and as in the paper. The biases start from the base's own values.
    """

    card = MethodCard(
        name="bitfit",
        family="biases",
        reference="arXiv 2106.10199",
        source="section 3 of the reference",
        default_targets=(),
        draws=False,
        reads=("learning_rate",),
        packable=True,
    )

    def chosen(self, names: Sequence[str], base: nn.Module) -> Sequence[str]:
        """Return the bias vectors.

        Raises:
            NotApplicableError: a base without biases.
        """
        biases = [name for name in names if name.endswith(".bias")]
        if not biases:
            config: Any = base.config
            raise NotApplicableError(
                f"bitfit is not applicable: this base ({config.model_type}) has no bias vectors. "
                "Fix: leave it out, or use a model with biases, such as OPT, BERT or RoBERTa"
            )
        return biases


METHOD = BitFit
