"""MELoRA against block-diagonal matrices and against one HF PEFT LoRA per slice, and the blocks that it takes."""

import re
from typing import Any

import peft
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
from trainers.models import load, meta_model
from trainers.registry import method_type
from trainers.testing import assert_trains_like, dense_reference
from trainers.testing.oracle import Parameters, disturb

MELORA = method_type("melora")


def base_of(name: str) -> nn.Module:
    return load(ModelRef(id=name), torch.device("cpu")).model.double()


@pytest.fixture(scope="module")
def base() -> nn.Module:
    return base_of("micro-llama")


@pytest.mark.parametrize(("name", "targets"), [("micro-llama", ("q", "v", "up", "down")), ("micro-bert", ("q", "v"))])
@pytest.mark.parametrize("blocks", [1, 4])
def test_trains_like_the_block_diagonal_matrix(name: str, targets: tuple[str, ...], blocks: int) -> None:
    def update(parameters: Parameters, site: Site) -> Tensor:
        down, up = parameters[f"down.{site.key}"], parameters[f"up.{site.key}"]
        return torch.block_diag(*(0.5 * 16 / 2 * up[j] @ down[j] for j in range(blocks)))

    with attached(base_of(name), MELORA, targets, capacity={"rank": 2, "blocks": blocks}, settings={}, scale=0.5) as model:
        assert_trains_like(model, dense_reference(base_of(name), model.method.sites, update))


@given(
    sides=st.tuples(st.integers(1, 5), st.integers(1, 5)), blocks=st.integers(1, 4), tokens=st.integers(1, 4), wanted_rank=st.integers(1, 3)
)
@settings(max_examples=20, deadline=None)
def test_equals_one_hf_peft_lora_per_slice(sides: tuple[int, int], blocks: int, tokens: int, wanted_rank: int) -> None:
    rank = min(wanted_rank, 2 * min(sides))
    hidden, inner = 2 * sides[0] * blocks, 2 * sides[1] * blocks
    config = LlamaConfig(hidden_size=hidden, intermediate_size=inner, num_hidden_layers=1, num_attention_heads=1, head_dim=2, vocab_size=8)
    with attached(LlamaForCausalLM(config).double(), MELORA, ("up",), capacity={"rank": rank, "blocks": blocks}, settings={}) as model:
        disturb(model)
        [site] = model.method.sites
        x = torch.randn(2, tokens, hidden, dtype=torch.float64)
        parts = []
        for j, slice_of_x in enumerate(x.chunk(blocks, dim=-1)):
            small = nn.Sequential(nn.Linear(hidden // blocks, inner // blocks, bias=False))
            nn.init.zeros_(small[0].weight)
            theirs: Any = peft.get_peft_model(small, peft.LoraConfig(r=rank, lora_alpha=16, target_modules=["0"])).double()
            layer = theirs.base_model.model[0]
            layer.lora_A["default"].weight.data.copy_(model.method.down[site.key][j])
            layer.lora_B["default"].weight.data.copy_(model.method.up[site.key][j])
            parts.append(theirs(slice_of_x))
        wanted, y = torch.cat(parts, dim=-1), torch.randn(2, tokens, inner, dtype=torch.float64)
        assert torch.allclose(model.method.delta(x, site), wanted, rtol=0, atol=1e-10)
        assert torch.allclose(model.method.transform(x, y.clone(), site), y + wanted, rtol=0, atol=1e-10)
        assert torch.allclose(x @ model.method.weight(site).T, wanted, rtol=0, atol=1e-10)


def test_the_update_has_the_rank_of_all_blocks_together(base: nn.Module) -> None:
    with attached(base, MELORA, ("q",), capacity={"rank": 2, "blocks": 4}, settings={}) as model:
        disturb(model)
        for site in model.method.sites:
            assert torch.linalg.matrix_rank(model.method.weight(site)) == 8
            down, up = model.method.factors(site)
            assert (down.shape, up.shape) == ((8, 16), (16, 8))


def test_blocks_start_by_their_own_inputs(base: nn.Module) -> None:
    """Kaiming-uniform with a=√5 has the bound 1/√(fan-in), and a block reads i/n inputs."""
    with attached(base, MELORA, ("q", "v"), capacity={"rank": 4, "blocks": 4}, settings={}) as model:
        largest = max(float(p.detach().abs().max()) for p in model.method.down.values())
        assert 0.95 / 2 < largest <= 1 / 2


@pytest.mark.parametrize(("model", "rank", "blocks", "count"), [("llama2-7b", 1, 8, 524_288), ("roberta-base", 8, 2, 294_912)])
def test_counts_do_not_depend_on_the_blocks(model: str, rank: int, blocks: int, count: int) -> None:
    for n in (1, blocks):
        with attached(meta_model(ModelRef(id=model)), MELORA, (), capacity={"rank": rank, "blocks": n}, settings={}) as adapted:
            assert sum(p.numel() for p in adapted.method.parameters()) == count


@pytest.mark.parametrize("blocks", [0, 3, 32, True, 2.0, "2"])
def test_blocks_that_do_not_divide_are_refused_with_those_that_do(base: nn.Module, blocks: Any) -> None:
    message = f"melora: blocks {blocks!r} is not valid. Valid: 1, 2, 4, 8, 16 (what divides the in and out sizes of all adapted matrices)"
    with pytest.raises(CapacityError, match=re.escape(message)) as error:
        with attached(base, MELORA, ("q", "down"), capacity={"rank": 1, "blocks": blocks}, settings={}):
            pass
    assert (error.value.key, error.value.valid) == ("blocks", [1, 2, 4, 8, 16])


@pytest.mark.parametrize("rank", [0, 5, False])
def test_ranks_above_a_block_are_refused(base: nn.Module, rank: Any) -> None:
    message = f"melora: rank {rank!r} is not valid. Valid: a whole number from 1 to 4 (the smallest side, 16, over 4 blocks)"
    with pytest.raises(CapacityError, match=re.escape(message)):
        with attached(base, MELORA, ("q",), capacity={"rank": rank, "blocks": 4}, settings={}):
            pass
