"""LoRA-XS against a singular value decomposition of its own, its default targets and counts."""

import copy
from typing import Any

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from search_spaces.errors import CapacityError
from search_spaces.trial import ModelRef
from trainers.adapters.attach import attached
from trainers.adapters.sites import Site
from trainers.methods import lora_xs
from trainers.models import load, meta_model
from trainers.registry import method_type
from trainers.testing import assert_trains_like, dense_reference
from trainers.testing.oracle import Parameters

LORA_XS = method_type("lora_xs")


def base_of(name: str) -> nn.Module:
    return load(ModelRef(id=name), torch.device("cpu")).model.double()


@pytest.fixture(scope="module")
def base() -> nn.Module:
    return base_of("micro-llama")


def aligned(weight: Tensor, left: Tensor) -> tuple[Tensor, Tensor]:
    """The leading triplets as (U, diag(σ) V^T) from NumPy, turned to the signs of `left`, which a decomposition leaves open."""
    u, s, vh = (torch.from_numpy(part) for part in numpy.linalg.svd(weight.numpy()))
    rank = left.shape[1]
    signs = (u[:, :rank] * left).sum(0).sign()
    return u[:, :rank] * signs, signs[:, None] * s[:rank, None] * vh[:rank]


@pytest.mark.parametrize(("name", "targets"), [("micro-llama", ("q", "v", "up", "down")), ("micro-bert", ("q", "v", "o", "fc2"))])
def test_trains_like_the_formula(name: str, targets: tuple[str, ...]) -> None:
    base, twin = base_of(name), base_of(name)
    with attached(base, LORA_XS, targets, capacity={"rank": 3}, settings={}, scale=0.5) as model:
        ends = {s.key: aligned(twin.get_parameter(f"{s.path}.weight"), model.method.up[s.key]) for s in model.method.sites}

        def update(parameters: Parameters, site: Site) -> Tensor:
            u, svt = ends[site.key]
            return 0.5 * 16 / 3 * u @ parameters[f"core.{site.key}"] @ svt

        assert_trains_like(model, dense_reference(twin, model.method.sites, update))


@given(sizes=st.tuples(st.integers(3, 9), st.integers(3, 9)), rank=st.integers(1, 3), seed=st.integers(0, 99))
@settings(max_examples=12, deadline=None)
def test_with_the_identity_it_adds_the_best_approximation(sizes: tuple[int, int], rank: int, seed: int) -> None:
    """R = I gives (α/r) W_r, whatever signs and rotations the decomposition has: the distance to W is that of Eckart and Young."""
    torch.manual_seed(seed)
    config = LlamaConfig(
        hidden_size=2 * sizes[0], intermediate_size=sizes[1], num_hidden_layers=1, num_attention_heads=1, head_dim=6, vocab_size=8
    )
    base = LlamaForCausalLM(config).double()
    with attached(base, LORA_XS, ("q", "up", "down"), capacity={"rank": rank}, settings={"alpha": float(rank)}) as model:
        for site in model.method.sites:
            model.method.core[site.key].data.copy_(torch.eye(rank))
            weight = base.get_parameter(f"{site.path}.weight")
            rest = torch.linalg.svdvals(weight)[rank:]
            assert float((weight - model.method.weight(site)).detach().norm()) == pytest.approx(float(rest.norm()), abs=1e-9)
            x = torch.randn(2, 3, site.in_features, dtype=torch.float64)
            assert torch.allclose(model.method.delta(x, site), x @ model.method.weight(site).T, rtol=0, atol=1e-9)


def test_starts_near_the_base(base: nn.Module) -> None:
    with attached(base, LORA_XS, (), capacity={"rank": 16}, settings={}) as model:
        values = torch.cat([p.detach().flatten() for p in model.method.core.values()])
        assert float(values.std()) == pytest.approx(1e-5, rel=0.1)
        assert abs(float(values.mean())) < 1e-6
        assert set(model.method.stored()) == {f"core.{site.key}" for site in model.method.sites}


def test_default_targets_are_those_of_the_paper() -> None:
    def defaults(model: str) -> set[str]:
        with attached(meta_model(ModelRef(id=model)), LORA_XS, (), capacity={"rank": 2}, settings={}) as adapted:
            return {site.role for site in adapted.method.sites}

    assert defaults("llama2-7b") == {"q", "k", "v", "o", "gate", "up", "down"}
    assert defaults("roberta-large") == {"q", "v", "o", "fc2"}
    assert defaults("opt-1.3b") == {"q", "v", "o", "fc2"}


@pytest.mark.parametrize(("rank", "published"), [(4, 1536), (8, 6144), (12, 13_824), (16, 24_576), (20, 38_400), (25, 60_000)])
def test_counts_of_the_literature(rank: int, published: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def decompose(*_: Any) -> None:
        raise AssertionError("counting needs no weights")

    monkeypatch.setattr(lora_xs, "leading_spectrum", decompose)
    with attached(meta_model(ModelRef(id="roberta-large")), LORA_XS, (), capacity={"rank": rank}, settings={}) as model:
        assert len(model.method.sites) == 96
        assert sum(p.numel() for p in model.method.parameters()) == published


def test_the_factors_are_the_base_s_own_after_a_change(base: nn.Module) -> None:
    """A base that was changed in place is decomposed again."""
    other = copy.deepcopy(base)

    def first(model: nn.Module) -> Tensor:
        with attached(model, LORA_XS, ("q",), capacity={"rank": 2}, settings={}) as adapted:
            return adapted.method.down["l0_q"].clone()

    before = first(other)
    with torch.no_grad():
        other.get_parameter("model.layers.0.self_attn.q_proj.weight").mul_(3)
    assert torch.allclose(first(other), 3 * before, rtol=0, atol=1e-12)


@pytest.mark.parametrize("rank", [0, 17, True, 1.0])
def test_bad_ranks_are_refused(base: nn.Module, rank: Any) -> None:
    with pytest.raises(CapacityError, match=r"lora_xs: rank .* is not valid. Valid: a whole number from 1 to 16 \(the smaller side"):
        with attached(base, LORA_XS, ("q", "down"), capacity={"rank": rank}, settings={}):
            pass
