"""Prompt tuning against HF PEFT."""

from typing import Any

import peft
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from transformers import BertConfig, BertForSequenceClassification, OPTConfig, OPTForCausalLM

from search_spaces.errors import CapacityError
from search_spaces.trial import ModelRef
from trainers.adapters.attach import attached
from trainers.counting import count_on
from trainers.models import load
from trainers.registry import method_type
from trainers.testing import assert_trains_like
from trainers.testing.oracle import Parameters, Reference, batch, disturb

IDS, MASK = batch()
PROMPT = method_type("prompt")
SIZES: Any = {"vocab_size": 258, "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4}


def base_of(name: str) -> nn.Module:
    torch.manual_seed(0)
    if name == "opt":  # embeddings narrower than the layers
        config = OPTConfig(**SIZES, ffn_dim=32, word_embed_proj_dim=8, dropout=0.0, init_std=0.2)
        return OPTForCausalLM(config).double().eval()
    if name == "bert":
        without_dropout: Any = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
        return (
            BertForSequenceClassification(BertConfig(**SIZES, intermediate_size=32, initializer_range=0.2, **without_dropout))
            .double()
            .eval()
        )
    return load(ModelRef(id=name), torch.device("cpu")).model.double()


def peft_reference(base: nn.Module, count: int) -> Reference:
    config: Any = base.config
    width = getattr(config, "word_embed_proj_dim", config.hidden_size)
    task = "SEQ_CLS" if config.model_type in ("bert", "roberta") else "CAUSAL_LM"
    options = peft.PromptTuningConfig(task_type=task, num_virtual_tokens=count, token_dim=width)
    model: Any = peft.get_peft_model(base, options).double().eval()

    def logits(parameters: Parameters, ids: Tensor, mask: Tensor) -> Tensor:
        changed = {"prompt_encoder.default.embedding.weight": parameters["embeddings"]}
        output: Tensor = functional_call(model, changed, (), {"input_ids": ids, "attention_mask": mask}).logits
        return output if output.dim() == 2 else output[:, count:]

    return logits


@pytest.mark.parametrize("name", ["micro-llama", "opt", "micro-bert", "bert"])
def test_trains_like_hf_peft(name: str) -> None:
    with attached(base_of(name), PROMPT, (), capacity={"tokens": 3}, settings={}) as model:
        assert_trains_like(model, peft_reference(base_of(name), 3))


def test_starts_as_tokens_of_the_vocabulary() -> None:
    base: Any = base_of("micro-llama")
    with attached(base, PROMPT, (), capacity={"tokens": 4}, settings={}, init_seed=5) as model, model.evaluating():
        given = model(IDS, MASK).logits
    tokens = torch.randint(258, (4,), generator=torch.Generator().manual_seed(5))
    with torch.no_grad():
        whole = base(input_ids=torch.cat([tokens.expand(len(IDS), -1), IDS], 1)).logits
    assert torch.allclose(given, whole[:, 4:], rtol=0, atol=1e-9)


def test_a_random_start_is_uniform() -> None:
    with attached(base_of("micro-llama"), PROMPT, (), capacity={"tokens": 200}, settings={"init": "random"}) as model:
        values = model.method.get_parameter("embeddings").detach()
    assert -0.5 <= float(values.min()) < -0.49 and 0.49 < float(values.max()) <= 0.5
    assert abs(float(values.mean())) < 0.02


@pytest.mark.parametrize("name", ["micro-llama", "micro-bert"])
@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_neither_positions_nor_output(name: str, side: str) -> None:
    pad = torch.full((2, 3), 257)
    parts, masks = ([pad, IDS], [torch.zeros_like(pad), MASK]) if side == "left" else ([IDS, pad], [MASK, torch.zeros_like(pad)])
    with attached(base_of(name), PROMPT, (), capacity={"tokens": 2}, settings={}) as model:
        disturb(model)
        with model.evaluating():
            given, wanted = model(torch.cat(parts, 1), torch.cat(masks, 1)).logits, model(IDS, MASK).logits
    if name == "micro-llama":
        given = given[:, 3:] if side == "left" else given[:, :9]
    assert torch.allclose(given, wanted, rtol=0, atol=1e-9)


@pytest.mark.parametrize("tokens", [0, True, "2", 2048])
def test_bad_lengths_are_refused(tokens: Any) -> None:
    with pytest.raises(
        CapacityError, match=r"prompt: tokens .* is not valid. Valid: a whole number from 1 to 2047 \(the model's positions"
    ):
        with attached(base_of("micro-llama"), PROMPT, (), capacity={"tokens": tokens}, settings={}):
            pass


def test_positions_behind_the_padding_row_are_left_out() -> None:
    """RoBERTa counts positions from the row after the padding token's: 514 rows hold 512 tokens."""
    for model in ("roberta-base", "bert-base"):
        assert count_on(ModelRef(id=model), "prompt", (), {"tokens": 511}, {}).counts.peak == 511 * 768
        with pytest.raises(CapacityError, match=r"Valid: a whole number from 1 to 511 \(the model's positions"):
            count_on(ModelRef(id=model), "prompt", (), {"tokens": 512}, {})


def test_published_count() -> None:
    assert count_on(ModelRef(id="llama2-7b"), "prompt", (), {"tokens": 8}, {}).counts.peak == 32_768
