"""Where an adapter stands that acts on a sublayer's output: behind the base's own dropout, in front of the residual sum."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import nn

from trainers.adapters.sites import Site


def adapt_behind_dropout(base: nn.Module, sites: Sequence[Site], adapt: Callable[[nn.Module, Site], None]) -> None:
    """Call `adapt` for the dropout module that follows each site's matrix, or for the matrix itself where none follows.

    Args:
        sites: last matrices of attention and feed-forward, with dropout beside them under the name `dropout`, as in BERT and RoBERTa.
            Elsewhere there is none (LLaMA, Mistral, Qwen), or it is no module (OPT), and then acts on what the adapter returns.
    """
    for site in sites:
        neighbour = getattr(base.get_submodule(site.path.rpartition(".")[0]), "dropout", None)
        adapt(neighbour if isinstance(neighbour, nn.Dropout) else base.get_submodule(site.path), site)
