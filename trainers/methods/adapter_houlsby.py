"""Houlsby adapters: a bottleneck after the attention and one after the feed-forward part of every layer."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from trainers.adapters.after_dropout import adapt_behind_dropout
from trainers.adapters.bottleneck import BottleneckAdapter
from trainers.adapters.sites import Site
from trainers.api import MethodCard


class AdapterHoulsby(BottleneckAdapter):
    """`y + W_up φ(W_down y + b) + b` on the output y of the attention's and of the feed-forward part's last matrix, with φ = swish.

    Houlsby et al. 2019, arXiv 1902.00751, figure 2: after the base's own dropout and before the residual sum and its normalisation; on
    OPT, whose dropout is no module, before it. Activation and initialisation are those of `DoubleSeqBnConfig` in adapter-hub/adapters.
    The normalisations stay frozen, unless the sweep trains them for every method.
    """

    card = MethodCard(
        name="adapter_houlsby",
        family="adapter",
        reference="arXiv 1902.00751",
        source="adapter-hub/adapters@12379e3 src/adapters/methods/modeling.py, DoubleSeqBnConfig",
        capacity=("bottleneck",),
        default_targets=("o", "down", "fc2"),
        starts_as="near",
        mergeable=False,
        reads=("learning_rate", "scale"),
        packable=True,
    )

    def install(self, base: nn.Module, adapt: Callable[[nn.Module, Site], None]) -> None:
        """Attach behind the dropout that follows each matrix."""
        adapt_behind_dropout(base, self.sites, adapt)

    @staticmethod
    def activation(code_BTb: Tensor) -> Tensor:
        """Return swish of the bottleneck's values."""
        return nn.functional.silu(code_BTb)


METHOD = AdapterHoulsby
