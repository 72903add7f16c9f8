"""DyLoRA against its formula and HF PEFT's LoRA of the drawn rank, and its draws."""

from typing import Any

import peft
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from search_spaces.errors import CapacityError
from search_spaces.trial import ModelRef
from trainers.adapters.attach import AdaptedModel, attached
from trainers.adapters.sites import Site
from trainers.models import load, meta_model
from trainers.registry import method_type
from trainers.testing import assert_trains_like, dense_reference
from trainers.testing.oracle import Parameters, batch, disturb, loss_of

DYLORA = method_type("dylora")
RANK = 5


def base_of(name: str) -> nn.Module:
    return load(ModelRef(id=name), torch.device("cpu")).model.double()


@pytest.fixture(scope="module")
def base() -> nn.Module:
    return base_of("micro-llama")


def ranks_of(model: AdaptedModel, steps: int) -> list[int]:
    ranks: list[int] = []
    for step in range(steps):
        model.before_step(step, steps)
        ranks.append(model.method.training_rank)
    return ranks


@pytest.mark.parametrize("mode", ["frozen", "nested"])
@pytest.mark.parametrize("name", ["micro-llama", "micro-bert"])
def test_trains_like_the_sum_of_leading_components(name: str, mode: str) -> None:
    """ΔW = (α/b) Σ_j B_j A_j^T over the first b components, in mode `frozen` constant but for the last."""
    base, options = base_of(name), {"capacity": {"rank": RANK}, "settings": {"mode": mode, "alpha": 6.0}, "init_seed": 4}
    with attached(base, DYLORA, ("q", "v"), **options) as model:
        drawn = ranks_of(model, 5)
    assert len(set(drawn)) > 1
    with attached(base, DYLORA, ("q", "v"), **options) as model:
        at = {"step": -1}

        def update(parameters: Parameters, site: Site) -> Tensor:
            down, up, rank = parameters[f"down.{site.key}"], parameters[f"up.{site.key}"], drawn[at["step"]]
            parts = [torch.outer(up[:, j], down[j]) for j in range(rank)]
            fixed = [part.detach() if mode == "frozen" else part for part in parts[:-1]]
            return 6.0 / rank * torch.stack([*fixed, parts[-1]]).sum(0)

        dense = dense_reference(base_of(name), model.method.sites, update)

        def reference(parameters: Parameters, ids: Tensor, mask: Tensor) -> Tensor:
            at["step"] += 1
            return dense(parameters, ids, mask)

        assert_trains_like(model, reference)


@given(rank=st.integers(1, RANK))
@settings(max_examples=5, deadline=None)
def test_evaluates_as_hf_peft_s_lora_of_the_evaluation_rank(base: nn.Module, rank: int) -> None:
    with attached(base, DYLORA, ("q", "down"), capacity={"rank": RANK}, settings={"evaluation_rank": rank}) as model:
        disturb(model)
        config = peft.LoraConfig(r=rank, lora_alpha=16, target_modules=[site.path for site in model.method.sites])
        theirs = peft.get_peft_model(base_of("micro-llama"), config).double().eval()
        for site in model.method.sites:
            layer: Any = theirs.get_base_model().get_submodule(site.path)
            layer.lora_A["default"].weight.data.copy_(model.method.down[site.key][:rank])
            layer.lora_B["default"].weight.data.copy_(model.method.up[site.key][:, :rank])
        ids, mask = batch()
        with model.evaluating():
            assert torch.allclose(model(ids, mask).logits, theirs(input_ids=ids, attention_mask=mask).logits, rtol=0, atol=1e-9)


def test_a_frozen_step_trains_one_component(base: nn.Module) -> None:
    with attached(base, DYLORA, ("q",), capacity={"rank": RANK}, settings={}) as model:
        disturb(model)
        for step in range(12):
            model.before_step(step, 12)
            ids, mask = batch()
            loss_of(model(ids, mask).logits, ids).backward()
            for key in model.method.down:
                moved = model.method.down[key].grad.abs().sum(1).nonzero().flatten().tolist()
                assert moved == model.method.up[key].grad.abs().sum(0).nonzero().flatten().tolist() == [model.method.training_rank - 1]
            model.zero_grad()


def test_ranks_follow_the_seed_alone(base: nn.Module) -> None:
    def drawn(init_seed: int, dropout_seed: int) -> list[int]:
        options = {"init_seed": init_seed, "dropout_seed": dropout_seed, "dropout": 0.5}
        with attached(base, DYLORA, ("q",), capacity={"rank": 4}, settings={}, **options) as model:
            torch.rand(dropout_seed)
            model(*batch())
            return ranks_of(model, 400)

    state = torch.random.get_rng_state()
    first = drawn(1, 2)
    torch.random.set_rng_state(state)
    assert first == drawn(1, 3) != drawn(2, 2)
    assert set(first) == {1, 2, 3, 4}
    assert all(70 < first.count(rank) < 130 for rank in range(1, 5))


def test_a_continued_training_draws_the_same_ranks(base: nn.Module) -> None:
    with attached(base, DYLORA, ("q",), capacity={"rank": RANK}, settings={}) as model:
        ranks_of(model, 7)
        state = {name: tensor.clone() for name, tensor in model.method.training_state().items()}
        wanted = ranks_of(model, 20)
    with attached(base, DYLORA, ("q",), capacity={"rank": RANK}, settings={}) as model:
        model.method.load_training_state(state)
        assert ranks_of(model, 20) == wanted


@pytest.mark.parametrize("rank", [-1, 6])
def test_an_evaluation_rank_beyond_the_rank_is_refused(base: nn.Module, rank: int) -> None:
    with pytest.raises(CapacityError, match=rf"dylora: evaluation_rank {rank} is not valid. Valid: 1 to 5 \(the rank\), or 0"):
        with attached(base, DYLORA, ("q",), capacity={"rank": RANK}, settings={"evaluation_rank": rank}):
            pass


def test_counts_are_those_of_lora_at_the_largest_rank() -> None:
    with attached(meta_model(ModelRef(id="roberta-base")), DYLORA, (), capacity={"rank": 8}, settings={}) as model:
        assert sum(p.numel() for p in model.method.parameters()) == 294_912
