"""BitFit: the biases of the base and nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.errors import NotApplicableError
from trainers.adapters.copies import ParameterCopies, in_head
from trainers.adapters.method import Method
from trainers.api import MethodCard


class BitFit(Method):
    """Trains every bias vector of the base's body, those of its normalisations included (Ben Zaken et al. 2022, arXiv 2106.10199).

    The classification head is trained whole, as for every method and as in the paper. The biases start from the base's own values.
    """

    card = MethodCard(
        name="bitfit",
        draws=False,
        family="biases",
        reference="arXiv 2106.10199",
        source="section 3 of the reference",
        default_targets=(),
        reads=("learning_rate",),
    )

    @classmethod
    def roles(cls, targets: Sequence[str], settings: Mapping[str, Any], present: Sequence[str]) -> tuple[str, ...]:
        """Return none: the biases are trained wherever they are."""
        return ()

    def build(self, base: nn.Module) -> None:
        """Make room for one copy of each bias vector.

        Raises:
            NotApplicableError: a base without biases.
        """
        own = dict(base.named_parameters())
        names = [name for name in own if name.endswith(".bias") and not in_head(name)]
        if not names:
            kind = getattr(base.config, "model_type", type(base).__name__)
            raise NotApplicableError(
                f"bitfit is not applicable: this base ({kind}) has no bias vectors. "
                "Fix: leave it out, or use a model with biases, such as OPT, BERT or RoBERTa"
            )
        self.copies: ParameterCopies = ParameterCopies(own, names)

    def initialise(self, generator: torch.Generator, base: nn.Module) -> None:
        """Copy the base's values; nothing is drawn."""
        self.copies.take(dict(base.named_parameters()))

    def stored(self) -> dict[str, Tensor]:
        """Return the biases under the base's own names."""
        return {name: copy.detach() for name, copy in self.copies.named().items()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Take back what `stored` returned."""
        self.copies.restore(state)


METHOD = BitFit
