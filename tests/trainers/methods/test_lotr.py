"""LoTR against its dense formula, with the published counts and error messages."""

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
from trainers.testing.oracle import Parameters, assert_trains_like, batch, dense_reference, disturb

LOTR = method_type("lotr")


def micro(name: str = "micro-llama") -> nn.Module:
    return load(ModelRef(id=name), torch.device("cpu")).model.double()


def llama(hidden: int, intermediate: int, layers: int = 2, key_value_heads: int = 2) -> nn.Module:
    sizes = {"hidden_size": hidden, "intermediate_size": intermediate, "num_hidden_layers": layers, "vocab_size": 32}
    return LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=2, num_key_value_heads=key_value_heads)).double().eval()


def tucker_slice(parameters: Parameters, number: int, scale: float) -> Tensor:
    """`scale (R G_n L)^T`, entry by entry of the Tucker-2 form."""
    return torch.einsum("bi,bc,oc->oi", parameters["input_side"], parameters["core"][number], parameters["output_side"]) * scale


@pytest.mark.parametrize(
    ("model", "targets"), [("micro-llama", ("q", "v", "o")), ("micro-llama", ("up", "gate")), ("micro-bert", ("q", "v"))]
)
def test_trains_like_the_tucker_form(model: str, targets: tuple[str, ...]) -> None:
    with attached(micro(model), LOTR, targets, capacity={"rank": 3}, settings={"alpha": 6.0}, scale=0.5) as adapted:
        numbers = {site: n for n, site in enumerate(adapted.method.sites)}
        update = lambda parameters, site: tucker_slice(parameters, numbers[site], 0.5 * 6 / 3)  # noqa: E731
        assert_trains_like(adapted, dense_reference(micro(model), adapted.method.sites, update))


@given(
    hidden=st.sampled_from([4, 8, 12]),
    intermediate=st.sampled_from([3, 7, 12]),
    rank=st.integers(1, 3),
    role=st.sampled_from(["q", "up", "down"]),
)
@settings(max_examples=8, deadline=None)
def test_any_common_shape_and_rank(hidden: int, intermediate: int, rank: int, role: str) -> None:
    with attached(llama(hidden, intermediate), LOTR, (role,), capacity={"rank": rank}, settings={}) as model:
        disturb(model)
        method: Any = model.method
        method.prepare()
        parameters = dict(method.named_parameters())
        for number, site in enumerate(method.sites):
            x = torch.randn(2, 3, site.in_features, dtype=torch.float64)
            wanted = tucker_slice(parameters, number, 1 / rank)
            a_ri, b_or = method.factors(site)
            assert len(a_ri) == rank
            assert torch.allclose(b_or @ a_ri, wanted, rtol=0, atol=1e-12)
            assert torch.allclose(method.delta(x, site), x @ wanted.T, rtol=0, atol=1e-10)
        shape = method.sites[0]
        assert sum(p.numel() for p in model.trainable().values()) == (shape.in_features + shape.out_features) * rank + 2 * rank**2


@pytest.mark.parametrize(
    ("model", "rank", "published"),
    [
        ("llama2-7b", 4, 33_792),
        ("llama2-7b", 64, 786_432),
        *(
            ("roberta-base", rank, total - 1_536)
            for rank, total in ((1, 3_096), (2, 4_704), (4, 8_064), (8, 15_360), (16, 32_256), (32, 75_264))
        ),
    ],
)
def test_published_counts(model: str, rank: int, published: int) -> None:
    """RoBERTa's published table adds the weight of the output layer, 1,536."""
    assert count_on(ModelRef(id=model), "lotr", ("q", "v"), {"rank": rank}, {}).counts.peak == published


def test_starts_with_normal_sides_and_zero_cores() -> None:
    with attached(llama(64, 8), LOTR, ("q", "v"), capacity={"rank": 32}, settings={}) as model:
        for side in (model.method.input_side, model.method.output_side):
            assert abs(float(side.detach().mean())) < 0.1
            assert abs(float(side.detach().std()) - 1) < 0.1
        assert not model.method.core.any()


def test_matrices_that_read_one_tensor_share_its_product(monkeypatch: pytest.MonkeyPatch) -> None:
    products: list[Tensor] = []
    linear = nn.functional.linear

    def counted(x: Tensor, weight: Tensor, *rest: Any) -> Tensor:
        result = linear(x, weight, *rest)
        products.extend([result] if weight.shape == (3, 16) else [])
        return result

    with attached(micro(), LOTR, ("q", "k", "v", "o"), capacity={"rank": 3}, settings={}) as model:
        monkeypatch.setattr(nn.functional, "linear", counted)
        ids, mask = batch()
        with torch.no_grad():
            model(ids, mask)
    assert len(products) == 2 * 2, "two layers: one product for q, k and v, one for o"


def test_different_shapes_are_refused_with_targets_that_fit() -> None:
    grouped = llama(8, 12, key_value_heads=1)
    with pytest.raises(NotApplicableError, match=r"lotr shares its factors .* 8 x 8 .*v_proj is 4 x 8. Fix: targets: \[q, o\]"):
        with attached(grouped, LOTR, ("q", "v"), capacity={"rank": 1}, settings={}):
            pass
    with attached(grouped, LOTR, ("k", "v"), capacity={"rank": 1}, settings={}) as model:
        assert sum(p.numel() for p in model.trainable().values()) == 4 + 8 + 4


@pytest.mark.parametrize("rank", [0, 17, True, 1.5])
def test_bad_ranks_are_refused_with_the_limit(rank: Any) -> None:
    with pytest.raises(CapacityError, match=r"lotr: rank .* is not valid. Valid: a whole number from 1 to 16 \(the smaller side"):
        with attached(micro(), LOTR, ("up",), capacity={"rank": rank}, settings={}):
            pass


def test_update_scales_with_alpha_over_rank() -> None:
    def norm(**settings: float) -> float:
        with attached(micro(), LOTR, ("q",), capacity={"rank": 2}, settings=settings) as model:
            disturb(model)
            model.method.prepare()
            site: Site = model.method.sites[0]
            return float(model.method.weight(site).detach().norm())

    assert norm(alpha=4.0) == pytest.approx(4 * norm())
