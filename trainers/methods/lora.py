"""LoRA: low-rank updates of single matrices."""

from __future__ import annotations

from trainers.adapters.pairs import PairMethod
from trainers.api import MethodCard, Setting


class Lora(PairMethod):
    """`ΔW = (α/r) B A` with A (r, i) and B (o, r), one pair per matrix (Hu et al. 2021, arXiv 2106.09685, eq. 3).

    A starts Kaiming-uniform (a=√5), B zero, as in loralib and HF PEFT.
    """

    card = MethodCard(
        name="lora",
        family="low-rank",
        reference="arXiv 2106.09685",
        source="microsoft/LoRA loralib/layers.py; peft 0.21.2 tuners/lora",
        capacity=("rank",),
        settings={"alpha": Setting(16.0, doc="numerator of the scaling α/r; microsoft/LoRA examples/NLU scripts use 16")},
        trains_at_start=("up.*",),
        packable=True,
        exports_lora=True,
    )


METHOD = Lora
