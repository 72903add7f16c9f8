"""LoRTA: one five-way CP tensor for the updates of all layers, matrices and heads."""

from __future__ import annotations

from trainers.adapters.five_way import SETTINGS, FiveWay
from trainers.api import MethodCard


class Lorta(FiveWay):
    """`D = A diag(C_m[m] ⊙ C_l[l]) K^T`, K the Khatri-Rao product of C_h and B, on attention projections (arXiv 2410.04060).

    Its orientation, scaling and initialisation are those of `trainers.adapters.five_way.FiveWay`.
    """

    card = MethodCard(
        name="lorta",
        family="tensor",
        reference="arXiv 2410.04060",
        source="ihounie/lorta@fa13dcb peft/src/peft/tuners/lorta, instruction_tuning/lit_gpt/lora.py",
        capacity=("rank",),
        settings=SETTINGS,
        default_targets=("q", "k", "v", "o"),
        trains_at_start=("head_dim",),
        packable=True,
        exports_lora=True,
    )


METHOD = Lorta
