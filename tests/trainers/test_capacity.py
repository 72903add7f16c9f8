"""The ladders of real methods on real shapes: what a step costs, and what a budget buys."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import pytest
from torch import nn

from search_spaces.capacity import Ladder
from search_spaces.errors import CapacityError, UnknownNameError
from search_spaces.trial import ModelRef
from trainers.capacity import ladder
from trainers.counting import count, count_on
from trainers.registry import method_names, method_type, preset_file
from trainers.shapes import build

OPT, LLAMA, MICRO = ModelRef(id="opt-1.3b"), ModelRef(id="llama2-7b"), ModelRef(id="micro-llama")


@pytest.fixture(scope="module")
def one_layer() -> nn.Module:
    """OPT-1.3B with one layer, whose attention matrices are 2048 x 2048."""
    preset = preset_file("opt-1.3b")
    assert preset is not None
    return build(json.loads(preset.with_suffix(".shapes.json").read_text()) | {"layers": 1, "tied": {}})


@pytest.mark.parametrize(("method", "step"), [("lora", 4_096), ("cp", 193)])
def test_a_step_on_one_projection_of_2048_x_2048(one_layer: nn.Module, method: str, step: int) -> None:
    kind = method_type(method)

    def peak(capacity: Mapping[str, Any]) -> int:
        return count(one_layer, kind, ("q",), capacity, {}).counts.peak

    sizes = Ladder(kind.card.capacity, peak)
    assert sizes.smallest.trainable == step
    for budget in (20_000, 300_000):
        fit = sizes.fit(budget)
        assert fit.step == step
        assert fit.size.capacity == {"rank": budget // step}
        assert -step / budget < fit.off <= 0
        nearest = sizes.fit(budget, "nearest")
        assert abs(nearest.off) <= step / 2 / budget


def test_budgets_on_the_query_and_value_of_opt() -> None:
    assert ladder(OPT, "cp", ("q", "v")).fit(196_608).size.trainable == 194_544
    fit = ladder(OPT, "lora", ("q", "v")).fit(20_000)
    assert not fit.reached
    assert fit.words == "the budget of 20,000 is below the smallest size; rank=1 trains 196,608, 9.8 times 20,000"
    assert ladder(OPT, "lora", ("q", "v"), also_train=("norms",)).smallest.trainable == 196_608 + 49 * 2 * 2048


def test_the_end_of_a_ladder_is_the_method_s_own() -> None:
    fit = ladder(LLAMA, "lora", ("q", "v")).fit(10**10)
    assert fit.size.capacity == {"rank": 4096} and fit.larger is None
    assert "above the largest size" in fit.words


def test_further_keys_take_their_defaults_or_what_is_given() -> None:
    assert ladder(LLAMA, "loretta_rep", ("q", "v")).smallest.capacity == {"rank": 1, "bottleneck": 8}
    assert ladder(LLAMA, "loretta_rep", ("q", "v"), others={"bottleneck": 16}).smallest.capacity == {"rank": 1, "bottleneck": 16}


def test_settings_change_the_ladder() -> None:
    dense, default = (ladder(OPT, "cp", ("q",), settings=given) for given in ({"rows": [2048], "columns": [2048]}, {}))
    assert dense.smallest.trainable == 24 * 4_097 and default.smallest.trainable == 24 * 193


def test_the_first_key_is_not_given() -> None:
    with pytest.raises(CapacityError, match="rank is what the ladder varies"):
        ladder(MICRO, "lora", others={"rank": 4})
    with pytest.raises(UnknownNameError, match="rnk"):
        ladder(MICRO, "lora", others={"rnk": 4})


def test_sizes_that_fall_with_the_key_and_have_gaps() -> None:
    """HF PEFT's circulant blocks divide both sides of a matrix of 16 x 16; k has 8 rows."""
    sizes = ladder(MICRO, "peft/c3a", ("q",))
    assert [sizes.fit(budget).size.capacity["block_size"] for budget in (40, 100, 200)] == [16, 8, 4]


@pytest.mark.parametrize("name", method_names())
def test_every_native_method_has_a_ladder(name: str) -> None:
    model = ModelRef(id="micro-bert")
    sizes = ladder(model, name, others=dict.fromkeys(method_type(name).card.capacity[1:], 2))
    smallest = sizes.smallest
    assert sizes.is_fixed == method_type(name).card.fixed_size
    sizes.fit(smallest.trainable)
    assert count_on(model, name, (), smallest.capacity, {}).counts.peak == smallest.trainable > 0
    following = sizes.larger(smallest)
    if following is not None:
        fit = sizes.fit(following.trainable)
        assert fit.reached and fit.off == 0 and fit.size.trainable == following.trainable > smallest.trainable


def test_a_rank_that_changes_no_count_takes_its_default_or_a_divisor_below() -> None:
    llama, smollm = (ladder(model, "surm_kronecker", ("q", "v")) for model in (LLAMA, ModelRef(id="smollm2-135m")))
    assert llama.smallest.capacity == smollm.smallest.capacity == {"rank": 32}
    assert ladder(MICRO, "surm_kronecker", ("q",)).smallest.capacity == {"rank": 16}
    assert ladder(MICRO, "surm_kronecker", ("q",), others={"rank": 4}).smallest.capacity == {"rank": 4}
