"""VeRA against HF PEFT's, and its frozen factors: shared, sliced, drawn again, never stored."""

from typing import Any

import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.func import functional_call
from transformers import LlamaConfig, LlamaForCausalLM

from search_spaces.errors import CapacityError
from search_spaces.trial import ModelRef
from trainers.adapters.attach import AdaptedModel, attached
from trainers.models import load, meta_model
from trainers.registry import method_type
from trainers.testing import assert_trains_like
from trainers.testing.oracle import Parameters, Reference

VERA = method_type("vera")
RANK = 6


def base_of(name: str) -> nn.Module:
    return load(ModelRef(id=name), torch.device("cpu")).model.double()


@pytest.fixture(scope="module")
def base() -> nn.Module:
    return base_of("micro-llama")


def grouped() -> nn.Module:
    torch.manual_seed(3)
    sizes = {"hidden_size": 16, "intermediate_size": 20, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
    return LlamaForCausalLM(LlamaConfig(**sizes, vocab_size=258)).double().eval()


def hf_peft(model: AdaptedModel, base: nn.Module) -> Reference:
    """HF PEFT's VeRA with the same frozen factors, as a function of this project's parameters."""
    paths = {site.key: site.path for site in model.method.sites}
    theirs = peft.get_peft_model(base, peft.VeraConfig(r=RANK, target_modules=list(paths.values()))).double()
    for kind in "AB":
        frozen: Any = theirs.get_submodule(f"base_model.vera_{kind}")
        assert frozen["default"].shape == model.method.shared[kind].shape
        frozen["default"].copy_(model.method.shared[kind])

    def logits(parameters: Parameters, ids: Tensor, mask: Tensor) -> Tensor:
        named = {tuple(name.split(".")): tensor for name, tensor in parameters.items()}
        swapped = {f"base_model.model.{paths[key]}.vera_{group}.default": tensor for (group, key), tensor in named.items()}
        output: Tensor = functional_call(theirs, swapped, (), {"input_ids": ids, "attention_mask": mask}).logits
        return output

    return logits


@pytest.mark.parametrize(("name", "targets"), [("micro-llama", ("q", "v")), ("micro-bert", ("q", "v"))])
def test_trains_as_hf_peft_does(name: str, targets: tuple[str, ...]) -> None:
    with attached(base_of(name), VERA, targets, capacity={"rank": RANK}, settings={}) as model:
        assert_trains_like(model, hf_peft(model, base_of(name)))


def test_slices_the_shared_factors_as_hf_peft_does() -> None:
    with attached(grouped(), VERA, ("q", "v", "up", "down"), capacity={"rank": RANK}, settings={}) as model:
        assert model.method.shared["A"].shape == (RANK, 20)
        assert model.method.shared["B"].shape == (20, RANK)
        assert_trains_like(model, hf_peft(model, grouped()))


@given(rank=st.integers(1, 40), scale=st.floats(0.1, 4), tokens=st.integers(1, 5))
@settings(max_examples=10, deadline=None)
def test_follows_the_formula_at_any_rank(rank: int, scale: float, tokens: int) -> None:
    """Ranks above the matrices' sides are common in the paper."""
    with attached(grouped(), VERA, ("v", "down"), capacity={"rank": rank}, settings={}, scale=scale) as model:
        for site in model.method.sites:
            d, b = model.method.lambda_d[site.key].data.normal_(), model.method.lambda_b[site.key].data.normal_()
            a, frozen_b = model.method.shared["A"][:, : site.in_features], model.method.shared["B"][: site.out_features]
            wanted = scale * torch.diag(b) @ frozen_b @ torch.diag(d) @ a
            x = torch.randn(2, tokens, site.in_features, dtype=torch.float64)
            y = torch.randn(2, tokens, site.out_features, dtype=torch.float64)
            assert torch.allclose(model.method.weight(site), wanted, rtol=0, atol=1e-9)
            assert torch.allclose(model.method.delta(x, site), x @ wanted.T, rtol=0, atol=1e-9)
            assert torch.allclose(model.method.transform(x, y.clone(), site), y + x @ wanted.T, rtol=0, atol=1e-9)


def test_frozen_factors_follow_the_seed_and_are_not_stored(base: nn.Module) -> None:
    def frozen(seed: int) -> tuple[Tensor, Tensor]:
        with attached(base, VERA, ("q", "v"), capacity={"rank": RANK}, settings={}, init_seed=seed) as model:
            assert {name.partition(".")[0] for name in model.method.stored()} == {"lambda_d", "lambda_b"}
            assert not any("shared" in name for name in model.state_dict())
            return model.method.shared["A"], model.method.shared["B"]

    first, again, other = frozen(1), frozen(1), frozen(2)
    assert all(torch.equal(x, y) for x, y in zip(first, again, strict=True))
    assert not any(torch.equal(x, y) for x, y in zip(first, other, strict=True))
    # Kaiming-uniform with a=0: the bound is √(6 / fan-in).
    bounds = [(6 / 16) ** 0.5, (6 / RANK) ** 0.5]
    assert all(0.8 * bound < factor.abs().max() <= bound for factor, bound in zip(first, bounds, strict=True))


def test_starts_at_the_initial_values(base: nn.Module) -> None:
    with attached(base, VERA, ("q",), capacity={"rank": RANK}, settings={"d_initial": 0.5}) as model:
        assert all(bool((p == 0.5).all()) for p in model.method.lambda_d.values())
        assert not any(bool(p.any()) for p in model.method.lambda_b.values())


@pytest.mark.parametrize(
    ("model", "rank", "published"), [("roberta-base", 1024, 43_008), ("roberta-large", 256, 61_440), ("llama2-7b", 256, 278_528)]
)
def test_counts_of_the_literature(model: str, rank: int, published: int) -> None:
    with attached(meta_model(ModelRef(id=model)), VERA, ("q", "v"), capacity={"rank": rank}, settings={}) as adapted:
        assert sum(p.numel() for p in adapted.method.parameters()) == published


@pytest.mark.parametrize("rank", [0, -3, True, 2.5, "8"])
def test_bad_ranks_are_refused(base: nn.Module, rank: Any) -> None:
    with pytest.raises(CapacityError, match=r"vera: rank .* is not valid. Valid: a whole number from 1 to 2147483647"):
        with attached(base, VERA, ("q",), capacity={"rank": rank}, settings={}):
            pass
