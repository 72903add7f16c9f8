"""Pfeiffer adapters: one bottleneck at the end of every layer.

Shapes: B batch, T tokens, d hidden size.
"""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from trainers.adapters.architectures import layer_norms
from trainers.adapters.bottleneck import BottleneckAdapter
from trainers.adapters.sites import Site
from trainers.api import MethodCard


class AdapterPfeiffer(BottleneckAdapter):
    """`LN(s + A(LN(s)))` with `A(h) = W_up relu(W_down h + b) + b`, where s is the feed-forward part's output plus its residual.

    Pfeiffer et al. 2020, arXiv 2005.00247, as `SeqBnConfig` in adapter-hub/adapters has it: `original_ln_before` (the adapter reads what
    the layer's own normalisation makes of s), `residual_before_ln` (its result is added in front of that normalisation) and
    `original_ln_after` (which is then applied again, with the same parameters). A layer that ends with a residual sum instead of a
    normalisation (LLaMA, Mistral, Qwen, most OPT models) gives `s + A(s)`, as there.
    """

    card = MethodCard(
        name="adapter_pfeiffer",
        family="adapter",
        reference="arXiv 2005.00247",
        source="adapter-hub/adapters@12379e3 src/adapters/methods/modeling.py, SeqBnConfig; src/adapters/models/llama/modeling_llama.py",
        capacity=("bottleneck",),
        default_targets=("down", "fc2"),
        starts_as="near",
        mergeable=False,
        reads=("learning_rate", "scale"),
        packable=True,
    )

    def install(self, base: nn.Module, adapt: Callable[[nn.Module, Site], None]) -> None:
        """Hook the normalisation that ends each layer, or the layer itself where there is none."""
        norm = layer_norms(base).at_end
        for site in self.sites:
            if norm is None:
                adapt(base.get_submodule(site.layer_path), site)
            else:
                base.get_submodule(f"{site.layer_path}.{norm}").register_forward_hook(self._at_norm(site))

    def _at_norm(self, site: Site) -> Callable[[nn.Module, tuple[Tensor], Tensor], Tensor]:
        def hook(norm: nn.Module, inputs: tuple[Tensor], normed_BTd: Tensor) -> Tensor:
            (sum_BTd,), dtype = inputs, self.down[site.key].dtype
            adapted_BTd = self.adapted(normed_BTd.to(dtype), sum_BTd.to(dtype), site).to(sum_BTd.dtype)
            # Not a call of the module, which would run this hook again.
            again: Tensor = norm.forward(adapted_BTd)
            return again

        return hook


METHOD = AdapterPfeiffer
