"""Houlsby adapters: a bottleneck after the attention and one after the feed-forward part of every layer."""

from __future__ import annotations

from torch import Tensor, nn

from trainers.adapters.bottleneck import BottleneckAdapter
from trainers.api import MethodCard


class AdapterHoulsby(BottleneckAdapter):
    """`y + W_up φ(W_down y + b) + b` on the output y of the attention's and of the feed-forward part's last matrix, with φ = swish.

    Houlsby et al. 2019, arXiv 1902.00751, figure 2: before the residual sum and its normalisation. Activation and initialisation are
    those of `DoubleSeqBnConfig` in adapter-hub/adapters. The normalisations stay frozen, unless the sweep trains them for every method.
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
    )

    @staticmethod
    def activation(code_BTb: Tensor) -> Tensor:
        """Return swish of the bottleneck's values."""
        return nn.functional.silu(code_BTb)


METHOD = AdapterHoulsby
