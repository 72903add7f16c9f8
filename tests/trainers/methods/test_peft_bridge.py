"""The bridge to HF PEFT: what it offers, what it refuses, and tuners whose definition fixes more than their sites."""

import re
from typing import Any

import peft
import pytest
import torch
from peft.utils import PeftType
from torch import Tensor, nn
from transformers import BertConfig, BertForSequenceClassification, LlamaConfig, LlamaForCausalLM

from search_spaces.errors import CapacityError, NotApplicableError, UnknownNameError
from search_spaces.trial import ModelRef
from trainers.adapters.attach import AdaptedModel, attached
from trainers.methods import peft_bridge
from trainers.models import load
from trainers.registry import bridged_names, method_type

IDS = torch.randint(0, 256, (2, 9), generator=torch.Generator().manual_seed(1))
MASK = torch.ones_like(IDS)


@pytest.fixture(scope="module")
def base() -> nn.Module:
    return load(ModelRef(id="micro-llama"), torch.device("cpu")).model


def loss_of(model: AdaptedModel) -> Tensor:
    return nn.functional.cross_entropy(model(IDS, MASK).logits[:, :-1].flatten(0, 1), IDS[:, 1:].flatten())


def attempt(base: nn.Module, name: str, targets: tuple[str, ...] = ("q", "v"), settings: Any = None, **capacity: Any) -> None:
    with attached(base, method_type(f"peft/{name}"), targets, capacity=capacity, settings=settings or {}):
        pass


def test_every_tuner_of_hf_peft_is_offered_or_explained() -> None:
    known = {kind.value.lower() for kind in PeftType}
    assert set(peft_bridge.names()) | set(peft_bridge.UNSUPPORTED) == known
    assert not set(peft_bridge.names()) & set(peft_bridge.UNSUPPORTED)
    assert bridged_names() == tuple(f"peft/{name}" for name in peft_bridge.names())


@pytest.mark.parametrize("name", sorted(peft_bridge.UNSUPPORTED))
def test_tuners_that_are_left_out_say_why(name: str) -> None:
    with pytest.raises(NotApplicableError, match=re.escape(peft_bridge.UNSUPPORTED[name])):
        method_type(f"peft/{name}")


def test_a_misspelt_tuner_is_suggested() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'peft/vera'"):
        method_type("peft/verra")


@pytest.mark.parametrize("name", peft_bridge.names())
def test_cards_leave_out_what_the_sweep_decides(name: str) -> None:
    card = method_type(f"peft/{name}").card
    fields = set(card.capacity) | set(card.settings)
    decided = {"target_modules", "modules_to_save", "lora_alpha", "alpha", "orth_reg_weight", "feedforward_modules", "bias"}
    assert not fields & decided
    assert not any("dropout" in field for field in fields)
    assert card.name == f"peft/{name}"


def test_defaults_are_those_of_hf_peft() -> None:
    assert method_type("peft/vera").card.settings["d_initial"].default == peft.VeraConfig().d_initial
    assert method_type("peft/boft").card.settings["boft_n_butterfly_factor"].default == 1
    assert method_type("peft/p_tuning").card.settings["encoder_reparameterization_type"].default == "MLP"


@pytest.mark.parametrize(
    ("name", "capacity", "message"),
    [
        ("lora", {"r": 0}, r"peft/lora: r 0 is not valid. Valid: a whole number from 1 to 16 \(the smaller side"),
        ("lora", {"r": 17}, "peft/lora: r 17 is not valid"),
        ("vera", {"r": 1.5}, "peft/vera: r 1.5 is not valid"),
        ("prefix_tuning", {"num_virtual_tokens": 0}, "num_virtual_tokens 0 is not valid"),
        ("frod", {"sparse_rate": 2}, "sparse_rate 2 is not valid. Valid: a number between 0 and 1"),
        ("c3a", {"block_size": 3}, "peft/c3a: HF PEFT refuses block_size 3.* on these matrices: "),
        ("oft", {"oft_block_size": 64}, "peft/oft: HF PEFT refuses oft_block_size 64"),
        ("gralora", {"r": 3}, "peft/gralora: HF PEFT refuses r 3"),
        ("cartridge", {"num_virtual_tokens": 1}, "leaves nothing to train"),
        ("trainable_tokens", {}, r"token_indices \[\] is not valid. Valid: a list of token ids from 0 to 257"),
        ("road", {}, "peft/road: HF PEFT refuses"),
    ],
)
def test_capacities_that_do_not_fit_are_refused(base: nn.Module, name: str, capacity: Any, message: str) -> None:
    with pytest.raises(CapacityError, match=message):
        attempt(base, name, **capacity)
    assert not any("default" in key for key in base.state_dict()), "a refused tuner left layers behind"


def test_settings_outside_the_list_are_refused(base: nn.Module) -> None:
    with pytest.raises(UnknownNameError, match="unknown setting of peft/lora 'lora_dropout'"):
        attempt(base, "lora", settings={"lora_dropout": 0.1}, r=2)
    with pytest.raises(CapacityError, match="init_lora_weights 'pissa' is not valid. Valid: True, 'gaussian'"):
        attempt(base, "lora", settings={"init_lora_weights": "pissa"}, r=2)


def test_scale_multiplies_alpha(base: nn.Module) -> None:
    with attached(base, method_type("peft/lora"), ("q",), capacity={"r": 4}, settings={}, scale=3.0) as model:
        layer: Any = base.get_submodule("model.layers.0.self_attn.q_proj")
        assert layer.scaling["default"] == 3 * 8 / 4
        assert "scale" in model.method.card.reads
    assert "scale" not in method_type("peft/vera").card.reads


def test_dropout_reaches_the_tuner(base: nn.Module) -> None:
    with attached(base, method_type("peft/lora"), ("q",), capacity={"r": 4}, settings={}, dropout=0.25):
        layer: Any = base.get_submodule("model.layers.0.self_attn.q_proj")
        assert layer.lora_dropout["default"].p == 0.25
    assert "dropout" not in method_type("peft/ia3").card.reads


@pytest.mark.parametrize("name", ["vera", "fourierft", "shira", "randlora"])
def test_frozen_random_parts_follow_the_seed(base: nn.Module, name: str) -> None:
    kind = method_type(f"peft/{name}")

    def moved(seed: int) -> Tensor:
        capacity = dict.fromkeys(kind.card.capacity, 2)
        with attached(base, kind, ("q", "v"), capacity=capacity, settings={}, init_seed=seed) as model:
            for parameter in model.trainable().values():
                nn.init.constant_(parameter, 0.3)
            with model.evaluating():
                logits: Tensor = model(IDS, MASK).logits
            return logits

    assert torch.equal(moved(0), moved(0))
    assert not torch.equal(moved(0), moved(1))


def test_ia3_scales_the_input_of_the_down_projection(base: nn.Module) -> None:
    with attached(base, method_type("peft/ia3"), ("k", "v", "down"), capacity={}, settings={}) as model:
        shapes = {name: tuple(p.shape) for name, p in model.trainable().items()}
    assert {shape for name, shape in shapes.items() if "down_proj" in name} == {(1, 32)}
    assert {shape for name, shape in shapes.items() if "down_proj" not in name} == {(16, 1)}


def test_ln_tuning_trains_the_norms_once(base: nn.Module) -> None:
    kind = method_type("peft/ln_tuning")
    with attached(base, kind, ("q",), capacity={}, settings={}, also_train=("norms",)) as model:
        assert sum(p.numel() for p in model.trainable().values()) == 5 * 16
        assert not model.extras.names
    assert kind.card.trains_extra == ("norms",)


def test_adaption_prompt_acts_on_all_layers_unless_told(base: nn.Module) -> None:
    for layers, count in ((None, 2), (1, 1)):
        settings = {} if layers is None else {"adapter_layers": layers}
        with attached(base, method_type("peft/adaption_prompt"), ("q",), capacity={"adapter_len": 3}, settings=settings) as model:
            assert sum(p.numel() for p in model.trainable().values()) == count * (3 * 16 + 1)


def test_adalora_prunes_to_its_target(base: nn.Module) -> None:
    steps, target = 12, 2
    with attached(base, method_type("peft/adalora"), ("q", "v"), capacity={"target_r": target}, settings={"init_r": 5}) as model:
        optimizer = torch.optim.AdamW(model.trainable().values(), lr=1e-2)
        for step in range(steps):
            model.method.before_step(step, steps)
            penalty = model.penalty()
            assert penalty is not None
            (loss_of(model) + penalty).backward()
            optimizer.step()
            model.method.after_step(step, steps)
            optimizer.zero_grad()
        kept = sum(int(p.count_nonzero()) for p in model.method.get_submodule("lora_E").parameters())
    assert kept == target * 4


def test_adalora_refuses_a_schedule_without_pruning(base: nn.Module) -> None:
    with attached(base, method_type("peft/adalora"), ("q",), capacity={"target_r": 2}, settings={"tinit": 5, "tfinal": 5}) as model:
        with pytest.raises(CapacityError, match="tinit 5 and tfinal 5 leave no step of 10 to prune in"):
            model.method.before_step(0, 10)
    with pytest.raises(CapacityError, match="init_r 2 is not valid. Valid: a whole number above target_r 2"):
        attempt(base, "adalora", settings={"init_r": 2}, target_r=2)


@pytest.mark.parametrize("name", ["prompt_tuning", "p_tuning", "prefix_tuning", "cartridge"])
def test_virtual_tokens_stand_before_the_text(base: nn.Module, name: str) -> None:
    with attached(base, method_type(f"peft/{name}"), (), capacity={"num_virtual_tokens": 3}, settings={}) as model:
        with model.evaluating():
            whole, last = model(IDS, MASK).logits, model(IDS, MASK, logits_to_keep=2).logits
        assert model.method.virtual_tokens() == 3
        assert whole.shape == (2, 9, 258)
        assert torch.allclose(last, whole[:, -2:], atol=1e-6)


def test_prefix_tuning_equals_hf_peft(base: nn.Module) -> None:
    """HF PEFT's own forward pass, on text without padding."""
    with attached(base, method_type("peft/prefix_tuning"), (), capacity={"num_virtual_tokens": 3}, settings={}) as model:
        with model.evaluating():
            mine = model(IDS, MASK).logits
        weights = model.method.stored()["prompt_embeddings"]
        other = load(ModelRef(id="micro-llama"), torch.device("cpu")).model
        reference = peft.get_peft_model(other, peft.PrefixTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=3)).eval()
        reference.prompt_encoder["default"].embedding.weight.data.copy_(weights)
        with torch.no_grad():
            assert torch.allclose(mine, reference(input_ids=IDS, attention_mask=MASK).logits, atol=1e-6)


def test_prefix_tuning_fills_a_given_empty_cache(base: nn.Module) -> None:
    from transformers import DynamicCache

    with attached(base, method_type("peft/prefix_tuning"), (), capacity={"num_virtual_tokens": 3}, settings={}) as model:
        with model.evaluating():
            cache = DynamicCache()
            given = model(IDS, MASK, past_key_values=cache, use_cache=True).logits
            assert torch.equal(given, model(IDS, MASK).logits)
            assert cache.get_seq_length() == 3 + 9


def test_prefix_tuning_shapes_follow_grouped_queries() -> None:
    config = LlamaConfig(
        hidden_size=16,
        intermediate_size=8,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=4,
        vocab_size=258,
    )
    grouped = LlamaForCausalLM(config).eval()
    with attached(grouped, method_type("peft/prefix_tuning"), (), capacity={"num_virtual_tokens": 3}, settings={}) as model:
        assert sum(p.numel() for p in model.trainable().values()) == 3 * 2 * 2 * 8
        assert model(IDS, MASK).logits.shape == (2, 9, 258)


@pytest.mark.parametrize("projection", [{"prefix_projection": True, "encoder_hidden_size": 4}, {}])
def test_an_encoder_is_put_aside_when_its_prompt_is_restored(base: nn.Module, projection: Any) -> None:
    kind = method_type("peft/prefix_tuning")
    with attached(base, kind, (), capacity={"num_virtual_tokens": 3}, settings=projection, init_seed=1) as model:
        with model.evaluating():
            wanted = model(IDS, MASK).logits
        state = {name: tensor.clone() for name, tensor in model.method.stored().items()}
    assert sum(t.numel() for t in state.values()) == 3 * 2 * 2 * 16
    with attached(base, kind, (), capacity={"num_virtual_tokens": 3}, settings=projection, init_seed=2) as model:
        model.method.restore(state)
        with model.evaluating():
            assert torch.allclose(model(IDS, MASK).logits, wanted, atol=1e-6)


def test_prompts_need_a_language_model() -> None:
    encoder = BertForSequenceClassification(BertConfig(vocab_size=50, hidden_size=16, num_hidden_layers=1, num_attention_heads=2))
    with pytest.raises(NotApplicableError, match="before the text of causal language models; this base is none"):
        attempt(encoder, "prompt_tuning", num_virtual_tokens=2)
    with attached(encoder, method_type("peft/lora"), ("q", "v"), capacity={"r": 2}, settings={}) as model:
        assert model(IDS % 50, MASK).logits.shape == (2, 2)
