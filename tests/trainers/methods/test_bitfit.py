"""BitFit against ordinary training of the biases."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from transformers import OPTConfig, OPTForCausalLM, Qwen2Config, Qwen2ForCausalLM

from search_spaces.errors import NotApplicableError
from search_spaces.trial import ModelRef
from trainers.adapters.attach import attached
from trainers.counting import count_on
from trainers.models import load
from trainers.registry import method_type
from trainers.testing import assert_trains_like
from trainers.testing.oracle import Parameters

BITFIT = method_type("bitfit")
SIZES: Any = {"vocab_size": 258, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}


def micro_bert() -> nn.Module:
    return load(ModelRef(id="micro-bert"), torch.device("cpu")).model.double()


def opt() -> nn.Module:
    torch.manual_seed(0)
    return OPTForCausalLM(OPTConfig(**SIZES, ffn_dim=32, word_embed_proj_dim=16, dropout=0.0, init_std=0.2)).double().eval()


@pytest.mark.parametrize("build", [micro_bert, opt])
def test_trains_like_the_model_s_own_biases(build: Any) -> None:
    other = build()
    with attached(build(), BITFIT, (), capacity={}, settings={}) as model:
        names = [name for name, _ in other.named_parameters() if name.split(".")[-1] == "bias" and "classifier" not in name]

        def reference(parameters: Parameters, ids: Tensor, mask: Tensor) -> Tensor:
            own = {name: parameters[f"copies.values.{n}"] for n, name in enumerate(names)}
            output: Tensor = functional_call(other, own, (), {"input_ids": ids, "attention_mask": mask}).logits
            return output

        assert_trains_like(model, reference)
        assert set(model.method.stored()) == set(names)


def test_a_model_without_biases_is_refused() -> None:
    base = load(ModelRef(id="micro-llama"), torch.device("cpu")).model
    message = r"bitfit is not applicable: this base \(llama\) has no bias vectors. Fix: "
    with pytest.raises(NotApplicableError, match=message), attached(base, BITFIT, (), capacity={}, settings={}):
        pass
    with pytest.raises(NotApplicableError, match=message):
        count_on(ModelRef(id="llama2-7b"), "bitfit", (), {}, {})


def test_qwen2_has_biases_at_queries_keys_and_values() -> None:
    base = Qwen2ForCausalLM(Qwen2Config(**SIZES, intermediate_size=32, num_key_value_heads=2)).eval()
    with attached(base, BITFIT, (), capacity={}, settings={}) as model:
        assert sum(p.numel() for p in model.trainable().values()) == 2 * (16 + 8 + 8)


@pytest.mark.parametrize("kind", ["norms", "biases"])
def test_what_the_sweep_trains_besides_is_trained_once(kind: str) -> None:
    base = micro_bert()
    with attached(base, BITFIT, (), capacity={}, settings={}, also_train=(kind,)) as model:
        assert model.extras.names == (
            tuple(n for n, _ in base.named_parameters() if n.endswith("LayerNorm.weight")) if kind == "norms" else ()
        )


def test_the_head_is_trained_whole() -> None:
    with attached(micro_bert(), BITFIT, (), capacity={}, settings={}) as model:
        assert "classifier.dense.weight" in model.head.names
        assert not any(name.startswith("classifier") for name in model.method.stored())


def test_count_of_the_paper() -> None:
    """102,914 with the head's own biases: 768 and 2."""
    assert count_on(ModelRef(id="roberta-base"), "bitfit", (), {}, {}).counts.peak == 102_914 - 768 - 2
