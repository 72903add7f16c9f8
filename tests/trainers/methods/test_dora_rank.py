"""DoRA (dynamic rank distribution) against a dense formula that makes every component's matrix."""

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


BASE = llama()


def parts_of(parameters: Mapping[str, Tensor], sites: Sequence[Site], site: Site, rank: int) -> tuple[Tensor, Tensor, Tensor]:
    """A (r, i), c (r) and B (o, r) of one site: its row among those of the same shape, in the order of the sites."""
    row = [s for s in sites if s.in_features == site.in_features].index(site)
    a_ri = parameters[f"down.{rank}x{site.in_features}"][row]
    row = [s for s in sites if s.out_features == site.out_features].index(site)
    return a_ri, parameters["diagonal"][sites.index(site)], parameters[f"up.{site.out_features}x{rank}"][row]


def components(a_ri: Tensor, c_r: Tensor, b_or: Tensor) -> list[Tensor]:
    return [c_r[k] * torch.outer(b_or[:, k], a_ri[k]) for k in range(len(c_r))]


class Formula:
    """The method as its paper's code runs it, for 20 steps at start share 0.15, end share 0.5 and interval 2 (steps from 1)."""

    def __init__(self, sites: Sequence[Site], rank: int, final: int) -> None:
        self.sites, self.rank, self.final = sites, rank, final
        self.time = 1
        self.scores = {site: torch.zeros(rank, dtype=torch.float64) for site in sites}
        self.out: dict[Site, Tensor] = {}
        self.pruned: list[int] = []

    def update(self, parameters: Mapping[str, Tensor], site: Site) -> Tensor:
        return 2.5 * 8 / self.rank * torch.stack(components(*parts_of(parameters, self.sites, site, self.rank))).sum(0)

    def penalty(self, parameters: Mapping[str, Tensor]) -> Tensor:
        if self.time - 3 > 7:
            return torch.zeros(())
        parts = [parts_of(parameters, self.sites, site, self.rank) for site in self.sites]
        variances = [v for a_ri, _, b_or in parts for k in range(self.rank) for v in (a_ri[k].var(), b_or[:, k].var())]
        return 0.3 * torch.stack(variances).mean()

    def adjust(self, parameters: dict[str, Tensor], step: int, steps: int) -> None:
        assert self.time == step + 1 and steps == 20
        since = self.time - 3
        if since <= 7:
            for site in self.sites:
                matrices = components(*parts_of(parameters, self.sites, site, self.rank))
                share = torch.stack([m.norm() for m in matrices]) / (sum(matrices).norm() + 1e-8)
                self.scores[site] = 0.9 * self.scores[site] + 0.1 * share
        if since in (0, 2, 4, 6, 7):
            excess = len(self.sites) * (self.rank - self.final)
            count = max(1, int(excess * since**3 / 7**3 + 1e-9))
            threshold = sorted(torch.cat(list(self.scores.values())).tolist())[count - 1]
            out = {site: self.scores[site] <= threshold for site in self.sites}
            self.pruned.append(int(sum(mask.sum() for mask in out.values())))
            self.out = out if since == 7 else {}
            self.zero(parameters, out)
        self.zero(parameters, self.out)
        self.time += 1

    def zero(self, parameters: dict[str, Tensor], out: Mapping[Site, Tensor]) -> None:
        for site, mask in out.items():
            parameters["diagonal"][self.sites.index(site)][mask] = 0.0


def test_trains_as_the_dense_formula_through_all_phases() -> None:
    values = {"interval": 0.1, "variance": 0.3}
    with attached(llama(), method_type("dora_rank"), TARGETS, capacity={"rank": 2}, settings=values, scale=2.5) as model:
        formula = Formula(model.method.sites, 3, 2)
        reference = dense_reference(llama(), model.method.sites, formula.update)
        assert_trains_like(model, reference, steps=20, learning_rate=3e-3, penalty=formula.penalty, adjust=formula.adjust)
        # 8 excess components by (t'/7)³: 0.2, 1.5, 5.04, 8, where none is raised to one.
        assert formula.pruned == [1, 1, 1, 5, 8]
        assert int((model.method.diagonal != 0).sum()) == 8 * 2


@given(hidden=st.sampled_from([4, 8, 12]), between=st.integers(3, 9), rank=st.integers(1, 2), seed=st.integers(0, 9))
@settings(max_examples=8, deadline=None)
def test_shares_are_those_of_the_components_matrices(hidden: int, between: int, rank: int, seed: int) -> None:
    options: Any = {"capacity": {"rank": rank}, "settings": {"init_ratio": 1.2}, "init_seed": seed}
    with attached(llama(hidden, between), method_type("dora_rank"), ("q", "down", "up"), **options) as model:
        disturb(model)
        method = model.method
        shares = method.shares()
        for number, site in enumerate(method.sites):
            matrices = components(*parts_of(dict(method.named_parameters()), method.sites, site, method.rank))
            wanted = torch.stack([m.norm() for m in matrices]) / (sum(matrices).norm() + 1e-8)
            assert torch.allclose(shares[number], wanted, rtol=1e-7, atol=0)


def test_an_adapter_of_zeros_has_shares_of_zero() -> None:
    with attached(llama(), method_type("dora_rank"), ("q",), capacity={"rank": 2}, settings={}) as model:
        assert torch.equal(model.method.shares(), torch.zeros(2, 3, dtype=torch.float64))


def test_prunings_are_those_worked_out_by_hand() -> None:
    with attached(llama(), method_type("dora_rank"), TARGETS, capacity={"rank": 3}, settings={"interval": 0.0}) as model:
        schedule = model.method.schedule(20)
    # 16 excess components; t' = 0 falls on step 2 (from 0), t' = 7, the last, on step 9: 16 * 27 / 343 = 1.26, * 125 = 5.8, * 216 = 10.1.
    assert [schedule.drops(step) for step in range(12)] == [None, None, 1, 1, 1, 1, 2, 5, 10, 16, 16, 16]
    assert [schedule.observes(step) for step in range(12)] == [True] * 10 + [False] * 2
    assert [schedule.settles(step) for step in range(12)] == [False] * 9 + [True] * 3


@given(steps=st.integers(1, 400), warmup=st.floats(0, 0.9), rest=st.floats(0, 0.9))
@settings(max_examples=60, deadline=None)
def test_every_schedule_reaches_its_end(steps: int, warmup: float, rest: float) -> None:
    shares = {"warmup": warmup, "final": rest * (1 - warmup)}
    with attached(BASE, method_type("dora_rank"), ("q",), capacity={"rank": 2}, settings=shares) as model:
        schedule = model.method.schedule(steps)
    drops = [count for step in range(steps) if (count := schedule.drops(step)) is not None]
    assert schedule.settles(steps - 1)
    assert drops == sorted(drops) and drops[-1] == 2 * (3 - 2)


def test_counts_of_the_published_code() -> None:
    """RoBERTa-base, all six matrices: 12 components to begin with, 8 on average; the paper leaves the scalers out."""
    counted = count_on(ModelRef(id="roberta-base"), "dora_rank", (), {"rank": 8}, {})
    assert counted.counts.peak == 1_991_520
    assert counted.parts["down"] + counted.parts["up"] == 1_327_104 * 12 // 8


def test_starts_in_the_published_ranges() -> None:
    with attached(llama(), method_type("dora_rank"), ("q", "up"), capacity={"rank": 4}, settings={}) as model:
        method = model.method
        assert not method.diagonal.any()
        assert 0.8 * (6 / 12) ** 0.5 < method.down["6x12"].abs().max() <= (6 / 12) ** 0.5
        assert 0.8 < method.up["12x6"].abs().max() <= 1 and 0.8 < method.up["10x6"].abs().max() <= 1


@pytest.mark.parametrize(
    ("capacity", "values", "message"),
    [
        ({"rank": 5}, {}, r"dora_rank: rank 5 is not valid. Valid: a whole number from 1 to 4 \(init_ratio 1.5 times it is at most 6"),
        ({"rank": 2}, {"beta": 1.0}, "dora_rank: beta 1.0 is not valid. Valid: a number at least 0, below 1"),
        ({"rank": 2}, {"variance": -0.1}, "dora_rank: variance -0.1 is not valid. Valid: a number at least 0"),
        ({"rank": 2}, {"final": 0.9}, "dora_rank: warmup 0.15 and final 0.9 leave no step between them"),
    ],
)
def test_bad_values_are_refused(capacity: dict[str, Any], values: dict[str, Any], message: str) -> None:
    with pytest.raises(CapacityError, match=message), attached(BASE, method_type("dora_rank"), TARGETS, capacity=capacity, settings=values):
        pass
