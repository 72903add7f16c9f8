"""Series adapters: bottlenecks in front of and behind the feed-forward matrices."""

from __future__ import annotations

from typing import ClassVar

from trainers.adapters.bottleneck import BottleneckAdapter
from trainers.api import MethodCard


class AdapterSeries(BottleneckAdapter):
    """`h + W_up relu(W_down h)` on the inputs of gate and up and on the output of down, each with its own pair, without biases.

    The series adapter of LLM-Adapters (Hu et al. 2023, arXiv 2304.01933) on LLaMA's feed-forward part: `mh_adapter` on an input,
    `output_adapter` on an output, initialised by `init_weights: bert`. An architecture with two feed-forward matrices (OPT, BERT, RoBERTa)
    has one at the input of the first and one at the output of the second; upstream defines no such case.
    """

    card = MethodCard(
        name="adapter_series",
        family="adapter",
        reference="arXiv 2304.01933",
        source="AGI-Edgerunners/LLM-Adapters@0059d7c peft/src/peft/tuners/bottleneck.py",
        capacity=("bottleneck",),
        default_targets=("gate", "up", "down", "fc1", "fc2"),
        starts_as="near",
        mergeable=False,
        reads=("learning_rate", "scale"),
        packable=True,
    )
    biased: ClassVar[bool] = False
    input_roles: ClassVar[tuple[str, ...]] = ("gate", "up", "fc1")


METHOD = AdapterSeries
