"""FacT-TT and FacT-TK against their dense formula, feed-forward blocks included, with the published counts and error messages."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from search_spaces.errors import CapacityError, NotApplicableError
from search_spaces.trial import ModelRef
from trainers.adapters.attach import attached
from trainers.adapters.sites import Site
from trainers.counting import count_on
from trainers.models import load
from trainers.registry import method_type
from trainers.testing.oracle import Parameters, assert_trains_like, dense_reference, disturb

NAMES = ("fact_tt", "fact_tk")
DECODER, ENCODER = ("q", "k", "v", "o", "gate", "up", "down"), ("q", "k", "v", "o", "fc1", "fc2")


def micro(name: str = "micro-llama") -> nn.Module:
    return load(ModelRef(id=name), torch.device("cpu")).model.double()


def llama(hidden: int, intermediate: int, heads: int = 2, key_value_heads: int = 2, layers: int = 1) -> nn.Module:
    sizes = {"hidden_size": hidden, "intermediate_size": intermediate, "num_hidden_layers": layers, "vocab_size": 32}
    return LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=heads, num_key_value_heads=key_value_heads)).double().eval()


def core(parameters: Parameters, number: int) -> Tensor:
    """Σ_n of one d x d slice."""
    c = parameters["core"]
    return sum(c[:, :, m] * p for m, p in enumerate(parameters["slice_factor"][:, number])) if "slice_factor" in parameters else c[number]


def dense_update(parameters: Parameters, site: Site, sites: tuple[Site, ...], hidden: int, scale: float) -> Tensor:
    """`(s U Σ_n V)^T`, block by block: rows of blocks for a tall matrix, columns for a wide one, numbered site by site."""
    number = sum((s.in_features // hidden) * (s.out_features // hidden) for s in sites[: sites.index(site)])
    u_dr, v_rd = parameters["input_side"].T, parameters["output_side"].T
    rows = []
    for inner in range(site.in_features // hidden):
        width = site.out_features // hidden
        rows.append(torch.cat([u_dr @ core(parameters, number + inner * width + outer) @ v_rd for outer in range(width)], 1))
    return scale * torch.cat(rows).T


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("model", "targets"), [("micro-llama", ("q", "v")), ("micro-llama", DECODER), ("micro-bert", ENCODER)])
def test_trains_like_the_tensor(name: str, model: str, targets: tuple[str, ...]) -> None:
    with attached(micro(model), method_type(name), targets, capacity={"rank": 3}, settings={"s": 2.0}, scale=0.5) as adapted:
        sites = adapted.method.sites
        update = lambda parameters, site: dense_update(parameters, site, sites, 16, 2.0 * 0.5)  # noqa: E731
        assert_trains_like(adapted, dense_reference(micro(model), sites, update))


@pytest.mark.parametrize("name", NAMES)
@given(hidden=st.sampled_from([2, 6, 10]), blocks=st.integers(1, 4), rank=st.integers(1, 2), layers=st.integers(1, 2))
@settings(max_examples=6, deadline=None)
def test_any_number_of_blocks(name: str, hidden: int, blocks: int, rank: int, layers: int) -> None:
    base = llama(hidden, blocks * hidden, heads=1, key_value_heads=1, layers=layers)
    with attached(base, method_type(name), DECODER, capacity={"rank": rank}, settings={}) as model:
        disturb(model)
        method: Any = model.method
        method.prepare()
        parameters = dict(method.named_parameters())
        for site in method.sites:
            x = torch.randn(2, 3, site.in_features, dtype=torch.float64)
            wanted = dense_update(parameters, site, method.sites, hidden, 1.0)
            a_ri, b_or = method.factors(site)
            assert len(a_ri) == rank, "a block of rows or columns needs no higher rank"
            assert torch.allclose(b_or @ a_ri, wanted, rtol=0, atol=1e-12)
            assert torch.allclose(method.delta(x, site), x @ wanted.T, rtol=0, atol=1e-10)
        slices = layers * (4 + 3 * blocks)
        own = slices * rank**2 if name == "fact_tt" else rank**3 + slices * rank
        assert sum(p.numel() for p in model.trainable().values()) == 2 * hidden * rank + own


def test_a_matrix_cut_both_ways_has_all_its_slices() -> None:
    wide = LlamaForCausalLM(
        LlamaConfig(hidden_size=4, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2, vocab_size=32)
    ).double()
    layer: Any = wide.model.layers[0].self_attn
    layer.q_proj = nn.Linear(8, 12, bias=False).double()
    with attached(wide, method_type("fact_tt"), ("q",), capacity={"rank": 2}, settings={}) as model:
        disturb(model)
        method: Any = model.method
        method.prepare()
        site, x = method.sites[0], torch.randn(5, 8, dtype=torch.float64)
        wanted = dense_update(dict(method.named_parameters()), site, method.sites, 4, 1.0)
        assert method.core.shape == (6, 2, 2)
        assert torch.allclose(method.weight(site), wanted, rtol=0, atol=1e-12)
        assert torch.allclose(method.delta(x, site), x @ wanted.T, rtol=0, atol=1e-12)


@pytest.mark.parametrize(
    ("model", "name", "rank", "targets", "published"),
    [
        ("llama2-7b", "fact_tt", 4, ("q", "v"), 33_792),
        ("llama2-7b", "fact_tt", 64, ("q", "v"), 786_432),
        ("llama2-7b", "fact_tk", 4, ("q", "v"), 33_088),
        ("llama2-7b", "fact_tk", 64, ("q", "v"), 790_528),
        # RoBERTa-base has the shapes of ViT-B: 12 layers of width 768, feed-forward matrices four times as wide.
        ("roberta-base", "fact_tt", 16, ENCODER, 61_440),
        ("roberta-base", "fact_tk", 16, ENCODER, 30_976),
        ("roberta-base", "fact_tk", 32, ENCODER, 86_528),
    ],
)
def test_published_counts(model: str, name: str, rank: int, targets: tuple[str, ...], published: int) -> None:
    assert count_on(ModelRef(id=model), name, targets, {"rank": rank}, {}).counts.peak == published


@pytest.mark.parametrize("name", NAMES)
def test_dropout_acts_on_the_code(name: str) -> None:
    options: dict[str, Any] = {"capacity": {"rank": 4}, "settings": {}, "dropout": 0.5, "dropout_seed": 3}
    with attached(micro(), method_type(name), ("q", "up"), **options) as model:
        with torch.no_grad():
            for parameter in model.method.parameters():
                parameter.normal_()
        method: Any = model.method
        method.prepare()
        twin, parameters, number = torch.Generator().manual_seed(3), dict(method.named_parameters()), 0
        for site in method.sites:
            x = torch.randn(5, 16, dtype=torch.float64)
            blocks = range(number, number := number + site.out_features // 16)
            code = torch.cat([x @ parameters["input_side"].T @ core(parameters, n) for n in blocks], 1)
            kept = code * torch.empty_like(code).bernoulli_(0.5, generator=twin) * 2
            wanted = torch.cat([block @ parameters["output_side"].T for block in kept.split(4, dim=1)], 1)
            assert torch.allclose(method.transform(x, x.new_zeros(5, site.out_features), site), wanted, rtol=0, atol=1e-10)
            assert not torch.equal(kept, code)


def test_starts_as_linear_layers_do() -> None:
    with attached(micro("micro-bert"), method_type("fact_tt"), ENCODER, capacity={"rank": 8}, settings={}) as model:
        method: Any = model.method
        assert not method.output_side.any()
        assert 0.9 / 4 < method.input_side.abs().max() <= 1 / 4
        parts = dict(zip(method.sites, method.core.split(method.slices), strict=True))
        for site, part in parts.items():
            bound = 1 / math.sqrt(8 * (2 if site.role == "fc2" else 1))
            assert 0.8 * bound < part.abs().max() <= bound


def test_the_tucker_core_starts_xavier_uniform() -> None:
    with attached(micro(), method_type("fact_tk"), ("q", "v"), capacity={"rank": 8}, settings={}) as model:
        method: Any = model.method
        assert not method.output_side.any()
        for factor, fans in ((method.core, 8 * 8 + 8 * 8), (method.slice_factor, 4 + 8)):
            assert 0.8 * math.sqrt(6 / fans) < factor.abs().max() <= math.sqrt(6 / fans)


@pytest.mark.parametrize("name", NAMES)
def test_matrices_that_are_no_whole_slices_are_refused(name: str) -> None:
    grouped, narrow = llama(8, 16, key_value_heads=1), llama(8, 12)
    for base, target, shape, fix in ((grouped, "v", "4 x 8", r"\[q, o, gate, up, down\]"), (narrow, "up", "12 x 8", r"\[q, k, v, o\]")):
        with pytest.raises(
            NotApplicableError, match=rf"{name} shares .* whole slices, 8 x 8 .*{target}_proj is {shape}. Fix: targets: {fix}"
        ):
            with attached(base, method_type(name), ("q", target), capacity={"rank": 1}, settings={}):
                pass


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("rank", [0, 17, "4"])
def test_bad_ranks_are_refused_with_the_limit(name: str, rank: Any) -> None:
    with pytest.raises(CapacityError, match=rf"{name}: rank .* Valid: a whole number from 1 to 16 \("):
        with attached(micro(), method_type(name), ("q", "up"), capacity={"rank": rank}, settings={}):
            pass
