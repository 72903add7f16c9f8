"""LoRA² against the dense product of its five factors, and against an allocator that goes site by site."""

from collections.abc import Mapping, Sequence
from typing import Any

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
from trainers.counting import count_on
from trainers.registry import method_type
from trainers.testing.oracle import assert_trains_like, dense_reference, disturb

TARGETS = ("q", "v", "up", "down")


def llama(hidden: int = 12, between: int = 10) -> nn.Module:
    torch.manual_seed(0)
    sizes = {"hidden_size": hidden, "intermediate_size": between, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlamaConfig(vocab_size=258, num_key_value_heads=1, head_dim=hidden // 2, **sizes)
    return LlamaForCausalLM(config).double().eval()


def five(parameters: Mapping[str, Tensor], sites: Sequence[Site], site: Site, inner: int) -> dict[str, Tensor]:
    """A (k, i), B (r, k), E (r), a' (k, r) and b' (o, k) of one site."""
    number = sites.index(site)
    into = [s for s in sites if s.in_features == site.in_features].index(site)
    out = [s for s in sites if s.out_features == site.out_features].index(site)
    return {
        "A": parameters[f"down.{inner}x{site.in_features}"][into],
        "B": parameters["small_down"][number],
        "E": parameters["diagonal"][number],
        "a": parameters["small_up"][number],
        "b": parameters[f"up.{site.out_features}x{inner}"][out],
    }


def product(f: Mapping[str, Tensor]) -> Tensor:
    """ΔW, the transpose of what the published forward pass multiplies the input with."""
    return (f["A"].T @ f["B"].T @ torch.diag(f["E"]) @ f["a"].T @ f["b"].T).T


class Formula:
    """AdaLoRA's allocator on E, for 20 steps: full budget until step 3, final choice at step 12, a choice every second step between."""

    def __init__(self, sites: Sequence[Site], inner: int, rank: int, final: int) -> None:
        self.sites, self.inner, self.rank, self.final = sites, inner, rank, final
        self.mean: dict[tuple[Site, str], Tensor] = {}
        self.deviation: dict[tuple[Site, str], Tensor] = {}
        self.left: list[int] = []

    def update(self, parameters: Mapping[str, Tensor], site: Site) -> Tensor:
        return 0.5 * 4.0 / (self.rank + 1e-5) * product(five(parameters, self.sites, site, self.inner))

    def penalty(self, parameters: Mapping[str, Tensor]) -> Tensor:
        distances = []
        for site in self.sites:
            f = five(parameters, self.sites, site, self.inner)
            grams = (f["A"] @ f["A"].T, f["B"].T @ f["B"], f["a"] @ f["a"].T, f["b"].T @ f["b"])
            distances += [((gram - torch.eye(self.inner)) ** 2).sum().sqrt() for gram in grams]
        return 0.2 * torch.stack(distances).mean()

    def adjust(self, parameters: dict[str, Tensor], step: int, steps: int) -> None:
        assert steps == 20
        gradients = {name: p.grad for name, p in parameters.items()}
        if step < 12:
            for site in self.sites:
                values, slopes = (five(named, self.sites, site, self.inner) for named in (parameters, gradients))
                for name in ("B", "E", "a"):
                    self.smooth((site, name), (values[name] * slopes[name]).abs())
        if step >= 12 or (step > 3 and step % 2 == 0):
            start = len(self.sites) * self.rank
            share = max(0.0, 1 - (step - 3) / (12 - 3))
            self.left.append(int(self.final + (start - self.final) * share**3))
            self.prune(parameters, start - self.left[-1])

    def smooth(self, key: tuple[Site, str], now: Tensor) -> None:
        self.mean[key] = 0.85 * self.mean.get(key, torch.zeros_like(now)) + 0.15 * now
        self.deviation[key] = 0.85 * self.deviation.get(key, torch.zeros_like(now)) + 0.15 * (now - self.mean[key]).abs()

    def prune(self, parameters: dict[str, Tensor], count: int) -> None:
        scores = {}
        for site in self.sites:
            small_down, entries, small_up = (self.mean[site, name] * self.deviation[site, name] for name in ("B", "E", "a"))
            scores[site] = [entries[j] + small_up[:, j].mean() + small_down[j].mean() for j in range(self.rank)]
        threshold = sorted(float(score) for of_site in scores.values() for score in of_site)[count - 1]
        for site, of_site in scores.items():
            for j, score in enumerate(of_site):
                if float(score) <= threshold:
                    parameters["diagonal"][self.sites.index(site), j] = 0.0


def test_trains_as_the_dense_formula_through_all_phases() -> None:
    values = {"alpha": 4.0, "target_ratio": 0.4, "warmup": 0.15, "final": 0.4, "interval": 0.1, "orthogonality": 0.2}
    capacity = {"inner": 2, "rank": 5}
    with attached(llama(), method_type("lora2"), TARGETS, capacity=capacity, settings=values, scale=0.5) as model:
        formula = Formula(model.method.sites, 2, 5, 16)
        reference = dense_reference(llama(), model.method.sites, formula.update)
        assert_trains_like(model, reference, steps=20, learning_rate=3e-3, penalty=formula.penalty, adjust=formula.adjust)
        # 16 + 24 (1 - (t - 3)/9)³ for t = 4, 6, 8, 10, then the end.
        assert formula.left == [32, 23, 18, 16] + [16] * 8
        assert int((model.method.diagonal != 0).sum()) == 16


@given(hidden=st.sampled_from([4, 8, 12]), between=st.integers(3, 9), inner=st.integers(1, 2), rank=st.integers(1, 2))
@settings(max_examples=8, deadline=None)
def test_the_update_is_the_product_of_the_five_factors(hidden: int, between: int, inner: int, rank: int) -> None:
    capacity = {"inner": inner, "rank": rank}
    with attached(llama(hidden, between), method_type("lora2"), TARGETS, capacity=capacity, settings={}) as model:
        disturb(model)
        method = model.method
        method.prepare()
        for site in method.sites:
            wanted = 32 / (rank + 1e-5) * product(five(dict(method.named_parameters()), method.sites, site, inner))
            assert torch.allclose(method.weight(site), wanted, rtol=0, atol=1e-12)
        sizes = sum(inner * (s.in_features + s.out_features) + 2 * inner * rank + rank for s in method.sites)
        assert sum(p.numel() for p in model.trainable().values()) == sizes


@pytest.mark.parametrize(("inner", "published"), [(1, 167_616), (2, 334_656), (8, 1_336_896)])
def test_counts_of_the_paper(inner: int, published: int) -> None:
    """All six matrices of DeBERTaV3-base, whose shapes are those of BERT-base."""
    counted = count_on(ModelRef(id="bert-base"), "lora2", (), {"inner": inner, "rank": 8}, {})
    assert counted.counts.peak == counted.counts.stored == published


@pytest.mark.parametrize(
    ("capacity", "values", "message"),
    [
        ({"inner": 0, "rank": 2}, {}, r"lora2: inner 0 is not valid. Valid: a whole number from 1 to 6 \(the smaller side"),
        ({"inner": 2, "rank": 7}, {}, r"lora2: rank 7 is not valid. Valid: a whole number from 1 to 6 \(the smaller side"),
        ({"inner": 2, "rank": 2}, {"target_ratio": 0.0}, "lora2: target_ratio 0.0 is not valid. Valid: a number above 0, at most 1"),
        ({"inner": 2, "rank": 2}, {"target_ratio": 1.5}, "lora2: target_ratio 1.5 is not valid. Valid: a number above 0, at most 1"),
        ({"inner": 2, "rank": 2}, {"beta1": 0}, "lora2: beta1 0 is not valid. Valid: a number above 0, below 1"),
    ],
)
def test_bad_values_are_refused(capacity: dict[str, Any], values: dict[str, Any], message: str) -> None:
    with pytest.raises(CapacityError, match=message), attached(llama(), method_type("lora2"), TARGETS, capacity=capacity, settings=values):
        pass
