"""Aurora's two variants against their dense formulas, with the published count, both places of dropout and the start."""

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from search_spaces.errors import CapacityError, NotApplicableError
from search_spaces.trial import ModelRef
from trainers.adapters.attach import attached
from trainers.counting import count
from trainers.models import load
from trainers.registry import method_type
from trainers.testing.oracle import Parameters, assert_trains_like, dense_reference

AURORA = method_type("aurora")


def micro(name: str = "micro-llama") -> nn.Module:
    return load(ModelRef(id=name), torch.device("cpu")).model.double()


def dense_slice(parameters: Parameters, number: int) -> Tensor:
    """ΔW_n, as a sum of rank-one terms (`cp`) or of all triples of modes (`tk`)."""
    form = "r,r,ri,or->oi" if parameters["core"].dim() == 1 else "abc,c,ai,ob->oi"
    return torch.einsum(
        form, parameters["core"], parameters["slice_factor"][:, number], parameters["input_side"], parameters["output_side"]
    )


@pytest.mark.parametrize("variant", ["cp", "tk"])
@pytest.mark.parametrize("model", ["micro-llama", "micro-bert"])
def test_trains_like_the_dense_tensor(variant: str, model: str) -> None:
    with attached(micro(model), AURORA, (), capacity={"rank": 3}, settings={"variant": variant}, scale=0.5) as adapted:
        numbers = {site: n for n, site in enumerate(adapted.method.sites)}
        assert {site.role for site in numbers} == {"q", "k", "v"}
        update = lambda parameters, site: 0.5 * dense_slice(parameters, numbers[site])  # noqa: E731
        assert_trains_like(adapted, dense_reference(micro(model), adapted.method.sites, update))


def test_feed_forward_matrices_are_several_slices() -> None:
    with attached(micro(), AURORA, ("up", "down"), capacity={"rank": 2}, settings={}) as model:
        with torch.no_grad():
            for parameter in model.method.parameters():
                parameter.normal_()
        method: Any = model.method
        method.prepare()
        slices = [dense_slice(dict(method.named_parameters()), n) for n in range(8)]
        for layer in range(2):
            (up, down), own = method.sites[2 * layer : 2 * layer + 2], slices[4 * layer : 4 * layer + 4]
            assert torch.allclose(method.weight(up), torch.cat(own[:2], 0), rtol=0, atol=1e-12)
            assert torch.allclose(method.weight(down), torch.cat(own[2:], 1), rtol=0, atol=1e-12)


@pytest.mark.parametrize(("variant", "core"), [("cp", 64), ("tk", 64**3)])
def test_published_count(variant: str, core: int) -> None:
    """ "0.1M" at rank 64: 216 slices of 768 x 768, 112,192 in the CP form; the code's core is larger."""
    config = LlamaConfig(hidden_size=768, intermediate_size=8, num_hidden_layers=72, num_attention_heads=12, vocab_size=8)
    with torch.device("meta"):
        base = LlamaForCausalLM(config)
    assert count(base, AURORA, (), {"rank": 64}, {"variant": variant}).counts.peak == 112_192 - 64 + core


@pytest.mark.parametrize("position", ["before_core", "after_core"])
def test_dropout_stands_where_the_setting_says(position: str) -> None:
    settings = {"variant": "tk", "dropout_position": position}
    with attached(micro(), AURORA, ("q",), capacity={"rank": 4}, settings=settings, dropout=0.5, dropout_seed=3) as model:
        with torch.no_grad():
            for parameter in model.method.parameters():
                parameter.normal_()
        method: Any = model.method
        method.prepare()
        x, site = torch.randn(5, 16, dtype=torch.float64), method.sites[0]
        mask = 2 * torch.empty(5, 4, dtype=torch.float64).bernoulli_(0.5, generator=torch.Generator().manual_seed(3))
        u, core = x @ method.input_side.T, torch.einsum("abc,c->ab", method.core, method.slice_factor[:, 0])
        code = (u * mask) @ core if position == "before_core" else (u @ core) * mask
        assert torch.allclose(method.delta(x, site), code @ method.output_side.T, rtol=0, atol=1e-10)


@pytest.mark.parametrize("variant", ["cp", "tk"])
def test_starts_in_the_published_ranges(variant: str) -> None:
    with attached(micro(), AURORA, (), capacity={"rank": 8}, settings={"variant": variant}) as model:
        method: Any = model.method
        assert not method.output_side.any()
        assert 0.8 / 4 < method.input_side.abs().max() <= 1 / 4
        assert 0.8 * math.sqrt(6 / 9) < method.slice_factor.abs().max() <= math.sqrt(6 / 9)
        if variant == "cp":
            assert bool((method.core == 1).all())
        else:
            assert 0.8 * math.sqrt(6 / 128) < method.core.abs().max() <= math.sqrt(6 / 128)


def test_grouped_keys_are_refused_and_bad_values_too() -> None:
    sizes = {"hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 1, "vocab_size": 32}
    grouped = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2, num_key_value_heads=1))
    with pytest.raises(NotApplicableError, match=r"aurora shares .*k_proj is 4 x 8. Fix: targets: \[q, o\]"):
        with attached(grouped, AURORA, (), capacity={"rank": 1}, settings={}):
            pass
    with pytest.raises(CapacityError, match="aurora: variant 'tucker' is not valid. Valid: 'cp', 'tk'"):
        with attached(grouped, AURORA, ("q",), capacity={"rank": 1}, settings={"variant": "tucker"}):
            pass
