"""LoRA against HF PEFT's: output, every gradient, and the weights after AdamW steps."""

from typing import Any

import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from search_spaces.errors import CapacityError, UnknownNameError
from search_spaces.trial import ModelRef
from trainers.adapters.attach import AdaptedModel, attached
from trainers.models import load
from trainers.registry import method_type

RANK, SCALE, STEPS = 3, 0.5, 5
IDS = torch.randint(0, 256, (2, 9), generator=torch.Generator().manual_seed(1))
MASK = torch.ones_like(IDS)


@pytest.fixture(scope="module")
def base() -> nn.Module:
    return load(ModelRef(id="micro-llama"), torch.device("cpu")).model.double()


def loss_of(logits: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), IDS[:, 1:].flatten())


def reference_of(model: AdaptedModel) -> tuple[Any, dict[str, tuple[nn.Parameter, nn.Parameter]]]:
    """HF PEFT's LoRA on a fresh copy of the base, starting from the same factors."""
    other = load(ModelRef(id="micro-llama"), torch.device("cpu")).model.double()
    paths = {site.path: site.key for site in model.method.sites}
    config = peft.LoraConfig(r=RANK, lora_alpha=16 * SCALE, target_modules=list(paths), task_type="CAUSAL_LM")
    reference = peft.get_peft_model(other, config)
    pairs = {}
    for path, key in paths.items():
        layer: Any = reference.get_base_model().get_submodule(path)
        pairs[key] = (layer.lora_A["default"].weight, layer.lora_B["default"].weight)
        for mine, theirs in zip((model.method.down[key], model.method.up[key]), pairs[key], strict=True):
            theirs.data.copy_(mine.data)
    return reference, pairs


def test_trains_as_hf_peft_does(base: nn.Module) -> None:
    with attached(base, method_type("lora"), ("q", "v", "o"), capacity={"rank": RANK}, settings={}, scale=SCALE) as model:
        with torch.no_grad():
            for parameter in model.trainable().values():
                parameter.add_(torch.randn(parameter.shape, dtype=parameter.dtype), alpha=0.1)
        reference, pairs = reference_of(model)
        optimizers = [torch.optim.AdamW(p, lr=1e-2) for p in (model.trainable().values(), [x for pair in pairs.values() for x in pair])]
        for _ in range(STEPS):
            mine, theirs = model(IDS, MASK).logits, reference(input_ids=IDS, attention_mask=MASK).logits
            assert torch.allclose(mine, theirs, rtol=0, atol=1e-6)
            loss_of(mine).backward()
            loss_of(theirs).backward()
            for key, (down, up) in pairs.items():
                assert torch.allclose(model.method.down[key].grad, down.grad, rtol=0, atol=1e-6)
                assert torch.allclose(model.method.up[key].grad, up.grad, rtol=0, atol=1e-6)
            for optimizer in optimizers:
                optimizer.step()
                optimizer.zero_grad()
        for key, (down, up) in pairs.items():
            assert torch.allclose(model.method.down[key], down, rtol=0, atol=1e-6)
            assert torch.allclose(model.method.up[key], up, rtol=0, atol=1e-6)


@given(rank=st.integers(1, 16))
@settings(max_examples=8, deadline=None)
def test_every_rank_up_to_the_size_is_taken(base: nn.Module, rank: int) -> None:
    with attached(base, method_type("lora"), ("q",), capacity={"rank": rank}, settings={}) as model:
        assert sum(p.numel() for p in model.trainable().values()) == 2 * rank * (16 + 16)
        assert model(IDS, MASK).logits.shape == (2, 9, 258)


@given(rank=st.one_of(st.integers(max_value=0), st.integers(min_value=17), st.booleans(), st.floats(1, 4), st.just("four")))
@settings(max_examples=20, deadline=None)
def test_other_ranks_are_refused_with_the_limit(base: nn.Module, rank: Any) -> None:
    with pytest.raises(CapacityError, match=r"lora: rank .* is not valid. Valid: a whole number from 1 to 16 \(the smaller side"):
        with attached(base, method_type("lora"), ("q", "down"), capacity={"rank": rank}, settings={}):
            pass


def test_an_unknown_key_is_refused_with_the_nearest(base: nn.Module) -> None:
    with pytest.raises(UnknownNameError, match="unknown setting of lora 'alhpa'. Did you mean 'alpha'"):
        with attached(base, method_type("lora"), ("q",), capacity={"rank": 2}, settings={"alhpa": 3.0}):
            pass
    with pytest.raises(UnknownNameError, match="unknown capacity key of lora 'r'"):
        with attached(base, method_type("lora"), ("q",), capacity={"r": 2}, settings={}):
            pass


def test_a_missing_capacity_is_named(base: nn.Module) -> None:
    with pytest.raises(CapacityError, match="lora: capacity rank is missing"):
        with attached(base, method_type("lora"), ("q",), capacity={}, settings={}):
            pass


def test_dropout_draws_from_its_own_generator(base: nn.Module) -> None:
    def first_loss(dropout_seed: int) -> float:
        options = {"capacity": {"rank": 2}, "settings": {}, "dropout": 0.5, "dropout_seed": dropout_seed}
        with attached(base, method_type("lora"), ("q", "v"), **options) as model:
            torch.nn.init.ones_(model.method.up["l0_q"])
            return float(loss_of(model(IDS, MASK).logits.detach()))

    state = torch.random.get_rng_state()
    assert first_loss(0) == first_loss(0) != first_loss(1)
    assert torch.equal(state, torch.random.get_rng_state())
