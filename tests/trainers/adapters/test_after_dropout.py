"""Adapters on a sublayer's output stand behind the base's own dropout, in front of the residual sum."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification, RobertaConfig, RobertaForSequenceClassification

from trainers.adapters.attach import attached
from trainers.registry import method_type
from trainers.testing import assert_trains_like
from trainers.testing.oracle import Parameters, batch

SIZES: Any = {"vocab_size": 258, "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
KINDS: Any = {"bert": (BertForSequenceClassification, BertConfig), "roberta": (RobertaForSequenceClassification, RobertaConfig)}


def encoder(kind: str) -> Any:
    """A base with dropout, whose masks are the same in every pass."""
    model, config = KINDS[kind]
    torch.manual_seed(0)
    base = model(config(**SIZES, hidden_dropout_prob=0.4, attention_probs_dropout_prob=0.0, initializer_range=0.2)).double()
    base.register_forward_pre_hook(lambda *_: torch.manual_seed(1) and None)
    return base.train()


def houlsby(h: Tensor, parameters: Parameters, key: str, index: int) -> Tensor:
    code = nn.functional.silu(h @ parameters[f"down.{key}"].T + parameters[f"down_bias.{key}"])
    return h + code @ parameters[f"up.{key}"].T + parameters[f"up_bias.{key}"]


def circulant(h: Tensor, parameters: Parameters, key: str, index: int) -> Tensor:
    column = parameters["vector_a"][index] * parameters["vector_b"][index]
    dense = torch.stack([column.roll(k) for k in range(len(column))], 1)
    return h + nn.functional.gelu(h @ dense.T) + parameters["bias"][index]


@pytest.mark.parametrize("kind", ["bert", "roberta"])
@pytest.mark.parametrize(
    ("method", "capacity", "settings", "adapter"),
    [("adapter_houlsby", {"bottleneck": 3}, {}, houlsby), ("surm_circulant", {}, {"position": "adapter"}, circulant)],
)
def test_trains_like_the_formula_with_dropout(kind: str, method: str, capacity: Any, settings: Any, adapter: Any) -> None:
    other, current = encoder(kind), dict[str, Tensor]()

    def patch(output: Any, key: str, index: int) -> None:
        def forward(hidden: Tensor, stream: Tensor) -> Tensor:
            normed: Tensor = output.LayerNorm(adapter(output.dropout(output.dense(hidden)), current, key, index) + stream)
            return normed

        output.forward = forward

    for n, layer in enumerate(getattr(other, kind).encoder.layer):
        patch(layer.attention.output, f"l{n}_o", 2 * n)
        patch(layer.output, f"l{n}_fc2", 2 * n + 1)

    def reference(parameters: Parameters, ids: Tensor, mask: Tensor) -> Tensor:
        current.update(parameters)
        logits: Tensor = other(input_ids=ids, attention_mask=mask).logits
        return logits

    with attached(encoder(kind), method_type(method), (), capacity=capacity, settings=settings) as model:
        assert_trains_like(model, reference)
        ids, mask = batch()
        training = model(ids, mask).logits
        with model.evaluating():
            assert not torch.allclose(model(ids, mask).logits, training)
