"""The CP tensor adapter against the dense four-way tensor, with published counts, factorisations and their errors."""

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.functional import normalize
from transformers import LlamaConfig, LlamaForCausalLM

from search_spaces.errors import CapacityError
from search_spaces.trial import ModelRef
from trainers.adapters.attach import attached
from trainers.adapters.sites import Site
from trainers.counting import count_on
from trainers.models import load
from trainers.registry import method_type
from trainers.testing.oracle import Parameters, assert_trains_like, dense_reference, disturb

CP = method_type("cp")


def micro(name: str = "micro-llama") -> nn.Module:
    return load(ModelRef(id=name), torch.device("cpu")).model.double()


def llama(hidden: int, intermediate: int) -> nn.Module:
    sizes = {"hidden_size": hidden, "intermediate_size": intermediate, "num_hidden_layers": 2, "vocab_size": 32}
    return LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=1)).double().eval()


def vectors(parameters: Parameters, side: str, site: Site, number: int) -> list[Tensor]:
    """The normalised vectors of one matrix, one tensor (c, n_k) for each mode."""
    prefix = f"{side}.{site.out_features}x{site.in_features}_"
    names = sorted(name for name in parameters if name.startswith(prefix))
    return [parameters[name][number] / parameters[name][number].pow(2).sum(1, keepdim=True).sqrt() for name in names]


def dense_update(parameters: Parameters, site: Site, sites: tuple[Site, ...], scale: float = 1.0) -> Tensor:
    """`Σ_s λ_s u1_s ∘ u2_s ∘ ...`, built as a tensor with one dimension per mode and then flattened to rows and columns."""
    shape = (site.out_features, site.in_features)
    number = [s for s in sites if (s.out_features, s.in_features) == shape].index(site)
    total = torch.zeros(shape, dtype=torch.float64)
    modes = [*vectors(parameters, "rows", site, number), *vectors(parameters, "columns", site, number)]
    for s, weight in enumerate(parameters[f"coefficients.{shape[0]}x{shape[1]}"][number]):
        term = weight * scale
        for mode in modes:
            term = torch.tensordot(term, mode[s], dims=0)
        total = total + term.reshape(shape)
    return total


@pytest.mark.parametrize(
    ("model", "targets", "options"),
    [
        ("micro-llama", ("q", "v"), {}),
        ("micro-llama", ("q", "up", "down"), {}),
        ("micro-llama", ("q", "o"), {"rows": [2, 4, 2], "columns": [8, 2]}),
        ("micro-bert", ("q", "fc1"), {"columns": [16]}),
    ],
)
def test_trains_like_the_dense_tensor(model: str, targets: tuple[str, ...], options: dict[str, Any]) -> None:
    with attached(micro(model), CP, targets, capacity={"rank": 3}, settings=options, scale=0.5) as adapted:
        sites = adapted.method.sites
        update = lambda parameters, site: dense_update(parameters, site, sites, 0.5)  # noqa: E731
        assert_trains_like(adapted, dense_reference(micro(model), sites, update))


@given(hidden=st.sampled_from([2, 6, 10, 22]), intermediate=st.sampled_from([3, 7, 9, 12]), rank=st.integers(1, 2))
@settings(max_examples=10, deadline=None)
def test_any_size_prime_ones_too(hidden: int, intermediate: int, rank: int) -> None:
    with attached(llama(hidden, intermediate), CP, ("k", "up", "down"), capacity={"rank": rank}, settings={}) as model:
        disturb(model)
        method: Any = model.method
        method.prepare()
        parameters = dict(method.named_parameters())
        for site in method.sites:
            x = torch.randn(2, 3, site.in_features, dtype=torch.float64)
            wanted = dense_update(parameters, site, method.sites)
            a_ri, b_or = method.factors(site)
            assert torch.allclose(b_or @ a_ri, wanted, rtol=0, atol=1e-12)
            assert torch.allclose(method.delta(x, site), x @ wanted.T, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("size", "pair"), [(2048, [32, 64]), (576, [24, 24]), (1536, [32, 48]), (12, [3, 4]), (17, [17]), (2, [2])])
def test_sides_are_cut_into_the_most_balanced_pair(size: int, pair: list[int]) -> None:
    with torch.device("meta"):
        base = LlamaForCausalLM(
            LlamaConfig(hidden_size=4, intermediate_size=size, num_hidden_layers=1, num_attention_heads=1, vocab_size=8)
        )
    with attached(base, CP, ("up",), capacity={"rank": 1}, settings={}) as model:
        assert [p.shape[2] for p in model.method.rows.values()] == pair
        assert [p.shape[2] for p in model.method.columns.values()] == [2, 2]


def test_published_counts() -> None:
    for components, published in ((1, 9_264), (21, 194_544), (28, 259_392), (43, 398_352), (64, 592_896), (171, 1_584_144)):
        assert (
            count_on(ModelRef(id="opt-1.3b"), "cp", ("q", "v"), {"rank": components}, {}).counts.peak == published == 48 * 193 * components
        )


def test_the_length_of_raw_vectors_does_not_matter() -> None:
    with attached(micro(), CP, ("q",), capacity={"rank": 2}, settings={}) as model:
        disturb(model)
        method: Any = model.method
        method.prepare()
        before = method.weight(method.sites[0])
        with torch.no_grad():
            for factor in (*method.rows.values(), *method.columns.values()):
                factor.mul_(7)
        method.prepare()
        assert torch.allclose(method.weight(method.sites[0]), before, rtol=1e-9)


def test_starts_with_normal_vectors_and_zero_coefficients() -> None:
    with attached(micro(), CP, ("q", "v"), capacity={"rank": 40}, settings={}) as model:
        method: Any = model.method
        for factor in (*method.rows.values(), *method.columns.values()):
            assert abs(float(factor.detach().std()) - 1) < 0.1
        assert not any(coefficient.any() for coefficient in method.coefficients.values())


def test_vectors_are_normalised_in_fp32_on_a_bf16_base() -> None:
    base = load(ModelRef(id="micro-llama"), torch.device("cpu")).model.to(torch.bfloat16)
    with attached(base, CP, ("q",), capacity={"rank": 2}, settings={}) as model:
        method: Any = model.method
        method.prepare()
        a_ri, _ = method.factors(method.sites[0])
        exact = torch.einsum("sa,sb->sab", *(normalize(f[0].double(), dim=1) for f in method.columns.values())).flatten(1)
        assert a_ri.dtype == torch.float32
        assert float((a_ri.double() - exact).detach().abs().max()) < 1e-6


@pytest.mark.parametrize("value", [[3, 5], [4, 4, 2], [1, 16], [-4, -4], [4.0, 4], ["16"], [True, 16]])
@pytest.mark.parametrize(("side", "what"), [("rows", "output"), ("columns", "input")])
def test_a_wrong_factorisation_is_refused_with_valid_ones(side: str, what: str, value: list[Any]) -> None:
    wanted = (
        rf"cp: {side} \[.*\] does not factorise 16, the {what} size of .*q_proj. Valid: .* product 16, such as \[4, 4\], \[2, 8\], \[16\]"
    )
    with pytest.raises(CapacityError, match=wanted):
        with attached(micro(), CP, ("q",), capacity={"rank": 1}, settings={side: value}):
            pass


def test_one_factorisation_must_fit_all_matrices() -> None:
    with pytest.raises(CapacityError, match=r"rows \[4, 4\] does not factorise 32, the output size of .*up_proj"):
        with attached(micro(), CP, ("q", "up"), capacity={"rank": 1}, settings={"rows": [4, 4]}):
            pass


@pytest.mark.parametrize("rank", [0, 65, True, 2.0])
def test_bad_numbers_of_components_are_refused(rank: Any) -> None:
    assert math.prod((4, 4, 4)) == 64
    with pytest.raises(CapacityError, match=r"cp: rank .* from 1 to 64 \(what any tensor of 4 x 4 x 4 x 4 can be written with\)"):
        with attached(micro(), CP, ("q", "down"), capacity={"rank": rank}, settings={}):
            pass
