"""Prefix tuning against HF PEFT, and against the text that its first keys and values come from."""

from collections.abc import Callable
from typing import Any

import peft
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    OPTConfig,
    OPTForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from search_spaces.errors import CapacityError
from search_spaces.trial import ModelRef
from trainers.adapters.attach import attached
from trainers.counting import count_on
from trainers.models import load
from trainers.registry import method_type
from trainers.testing import assert_trains_like
from trainers.testing.oracle import Parameters, Reference, batch, disturb

IDS, MASK = batch()
PREFIX = method_type("prefix")
SIZES: Any = {"vocab_size": 258, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}
GROUPED: Any = {**SIZES, "intermediate_size": 32, "num_key_value_heads": 2, "initializer_range": 0.2}


def micro(name: str) -> nn.Module:
    return load(ModelRef(id=name), torch.device("cpu")).model.double()


def built(kind: Any, config: Any) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = kind(config).double().eval()
    return model


BASES: dict[str, Callable[[], nn.Module]] = {
    "llama": lambda: micro("micro-llama"),
    "grouped": lambda: built(LlamaForCausalLM, LlamaConfig(**GROUPED)),
    "mistral": lambda: built(MistralForCausalLM, MistralConfig(**GROUPED)),
    "qwen3": lambda: built(Qwen3ForCausalLM, Qwen3Config(**GROUPED, head_dim=8)),
    "opt": lambda: built(OPTForCausalLM, OPTConfig(**SIZES, ffn_dim=32, word_embed_proj_dim=16, dropout=0.0, init_std=0.2)),
    "roberta": lambda: micro("micro-bert"),
    "bert": lambda: built(
        BertForSequenceClassification,
        BertConfig(**SIZES, intermediate_size=32, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, initializer_range=0.2),
    ),
}


def peft_reference(base: nn.Module, count: int) -> Reference:
    config: Any = base.config
    task = "SEQ_CLS" if config.model_type in ("bert", "roberta") else "CAUSAL_LM"
    model: Any = peft.get_peft_model(base, peft.PrefixTuningConfig(task_type=task, num_virtual_tokens=count)).double().eval()

    def logits(parameters: Parameters, ids: Tensor, mask: Tensor) -> Tensor:
        both = torch.stack([parameters["keys"], parameters["values"]], 1)  # (L, 2, h, n, j)
        table = both.permute(3, 0, 1, 2, 4).reshape(count, -1)
        changed = {"prompt_encoder.default.embedding.weight": table}
        output: Tensor = functional_call(model, changed, (), {"input_ids": ids, "attention_mask": mask}).logits
        return output

    return logits


@pytest.mark.parametrize("name", ["llama", "grouped", "mistral", "opt", "roberta", "bert"])
def test_trains_like_hf_peft(name: str) -> None:
    with attached(BASES[name](), PREFIX, (), capacity={"tokens": 3}, settings={}) as model:
        assert_trains_like(model, peft_reference(BASES[name](), 3))


@pytest.mark.parametrize("name", ["llama", "grouped", "mistral", "qwen3", "opt"])
def test_starts_as_if_the_random_tokens_stood_before_the_text(name: str) -> None:
    base, count = BASES[name](), 4
    with attached(base, PREFIX, (), capacity={"tokens": count}, settings={}, init_seed=5) as model, model.evaluating():
        given = model(IDS, MASK).logits
    tokens = torch.randint(258, (1, count), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        whole = base(input_ids=torch.cat([tokens.expand(len(IDS), -1), IDS], 1)).logits
    # The activations pass through fp32, the type in which adapters are created.
    assert torch.allclose(given, whole[:, count:], rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", ["llama", "roberta"])
def test_other_starts(name: str) -> None:
    with attached(BASES[name](), PREFIX, (), capacity={"tokens": 50}, settings={"init": "zero"}) as model:
        assert not any(p.any() for p in model.method.parameters())
    with attached(BASES[name](), PREFIX, (), capacity={"tokens": 50}, settings={"init": "random"}) as model:
        for parameter in model.method.parameters():
            assert 0.95 < float(parameter.detach().std()) < 1.05


@pytest.mark.parametrize("name", ["llama", "roberta"])
def test_padding_is_not_attended_to(name: str) -> None:
    pad = torch.full((2, 3), 257)
    padded, mask = torch.cat([IDS, pad], 1), torch.cat([MASK, torch.zeros_like(pad)], 1)
    with attached(BASES[name](), PREFIX, (), capacity={"tokens": 2}, settings={}) as model:
        disturb(model)
        with model.evaluating():
            given, wanted = model(padded, mask).logits, model(IDS, MASK).logits
    assert torch.allclose(given[:, :9] if name == "llama" else given, wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("tokens", [0, -1, True, 2.0, 2048])
def test_bad_lengths_are_refused(tokens: Any) -> None:
    with pytest.raises(
        CapacityError, match=r"prefix: tokens .* is not valid. Valid: a whole number from 1 to 2047 \(the model's positions"
    ):
        with attached(micro("micro-llama"), PREFIX, (), capacity={"tokens": tokens}, settings={}):
            pass


def test_positions_behind_the_padding_row_are_left_out() -> None:
    """RoBERTa counts positions from the row after the padding token's: 514 rows hold 512 tokens."""
    roberta, bert = ModelRef(id="roberta-base"), ModelRef(id="bert-base")
    for model in (roberta, bert):
        assert count_on(model, "prefix", (), {"tokens": 511}, {}).counts.peak == 511 * 2 * 12 * 768
        with pytest.raises(CapacityError, match=r"Valid: a whole number from 1 to 511 \(the model's positions"):
            count_on(model, "prefix", (), {"tokens": 512}, {})


@pytest.mark.parametrize("method", ["prefix", "prompt"])
def test_the_longest_prefix_leaves_room_for_one_token(method: str) -> None:
    config = RobertaConfig(**SIZES, intermediate_size=32, max_position_embeddings=12, pad_token_id=1)
    base = built(RobertaForSequenceClassification, config)
    with attached(base, method_type(method), (), capacity={"tokens": 9}, settings={}) as model:
        assert torch.isfinite(model(IDS[:, :1] + 2, MASK[:, :1]).logits).all()
        with pytest.raises((IndexError, RuntimeError), match="index|out of"):
            model(IDS[:, :2] + 2, MASK[:, :2])


def test_published_count() -> None:
    assert count_on(ModelRef(id="llama2-7b"), "prefix", (), {"tokens": 5}, {}).counts.peak == 1_310_720
