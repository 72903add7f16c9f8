"""How much memory a worker needs for a base model, from shapes alone: no weights are loaded.

    base         parameters x bytes of the base's dtype; under ZeRO-3 that share of them which each of the group's workers holds, and
                 what is gathered at a time: at most `stage3_max_live_parameters`
    training     16 bytes per trainable parameter: the parameter, its gradient and AdamW's two moments, in fp32
    activations  tokens of a micro-batch x (inputs + outputs) of all linear layers x bytes of the base's dtype

The last is a rough upper bound: it takes every text for as long as `max_length`. For a GPT layer of width h it comes to 36 h bytes per
token in 16 bits, where Korthikanti et al. (arXiv 2205.05198, section 4.1) count 34 h without the attention scores, which fused attention
does not keep.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import nn

from search_spaces.trial import ModelRef
from trainers.shapes import shapes

DTYPE_BYTES = {"float32": 4, "bfloat16": 2}
TRAINED_BYTES = 16
LIVE_PARAMETERS = 1_000_000_000
"""DeepSpeed's default of `stage3_max_live_parameters`."""


@dataclass(frozen=True)
class Footprint:
    """Bytes that one worker needs.

    Attributes:
        parameters: of the whole base.
    """

    parameters: int
    base_bytes: int
    training_bytes: int
    activation_bytes: int

    @property
    def certain_bytes(self) -> int:
        """What is needed however short the texts are."""
        return self.base_bytes + self.training_bytes

    @property
    def bytes(self) -> int:
        """All of it, activations as estimated."""
        return self.certain_bytes + self.activation_bytes


def footprint(
    model: ModelRef, trainable: int, tokens: int, workers: int = 1, zero_stage: int = 0, live_parameters: int = LIVE_PARAMETERS
) -> Footprint:
    """Estimate what one worker needs.

    Args:
        trainable: parameters of adapter and head.
        tokens: of one micro-batch, padding among them.
        workers: processes of a group.
        live_parameters: what ZeRO-3 gathers at most at a time.

    Raises:
        ModelError: the config of a model that is not registered cannot be loaded.
    """
    base, width = shapes(model), DTYPE_BYTES[model.dtype]
    parameters = sum(p.numel() for p in base.parameters())
    whole = parameters * width
    shared = zero_stage == 3 and workers > 1
    return Footprint(
        parameters=parameters,
        base_bytes=whole // workers + min(parameters, live_parameters) * width if shared else whole,
        training_bytes=TRAINED_BYTES * trainable,
        activation_bytes=tokens * _linear_sizes(base) * width,
    )


def _linear_sizes(base: nn.Module) -> int:
    """Return the sum of input and output sizes of all linear layers: modules with a weight matrix that look nothing up."""
    matrices = (getattr(module, "weight", None) for module in base.modules() if "Embedding" not in type(module).__name__)
    return sum(sum(weight.shape) for weight in matrices if weight is not None and weight.dim() == 2)
