"""AdaLoRA against HF PEFT's, step by step through all phases of the budget."""

import copy
from collections.abc import Iterator
from typing import Any

import peft
import pytest
import torch
from torch import Tensor, nn
from transformers import LlamaConfig, LlamaForCausalLM

from search_spaces.errors import CapacityError
from search_spaces.trial import ModelRef
from trainers.adapters.attach import AdaptedModel, attached
from trainers.adapters.sensitivity import CubicBudget
from trainers.adapters.sites import Site
from trainers.counting import count_on
from trainers.registry import method_type
from trainers.testing.oracle import batch, disturb, loss_of

STEPS, RATE = 20, 3e-3
TARGETS = ("q", "v", "up", "down")
TRIPLET = {"down": "lora_A", "diagonal": "lora_E", "up": "lora_B"}


@pytest.fixture
def base() -> nn.Module:
    """Grouped queries and an odd feed-forward size: 12 x 12, 6 x 12, 10 x 12 and 12 x 10 matrices."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 12, "intermediate_size": 10, "num_hidden_layers": 2, "num_attention_heads": 2, "num_key_value_heads": 1}
    return LlamaForCausalLM(LlamaConfig(vocab_size=258, **sizes)).double().eval()


def reference_of(base: nn.Module, model: AdaptedModel, **config: Any) -> Any:
    """HF PEFT's AdaLoRA on a copy of the base, with the same initial values."""
    given = peft.AdaLoraConfig(target_modules=[s.path for s in model.method.sites], task_type="CAUSAL_LM", init_r=3, target_r=2, **config)
    reference = peft.get_peft_model(copy.deepcopy(base), given)
    for name, parameter in reference.named_parameters():
        if "ranknum" in name:  # part of the scaling: constant in the paper and in loralib, but peft 0.21.2 leaves it to the optimiser
            parameter.requires_grad_(False)
    # The library's own loss rounds to fp32.
    reference.get_base_model().loss_function = lambda logits, labels, **_: loss_of(logits, labels)
    with torch.no_grad():
        for _, mine, theirs in pairs(model, reference):
            theirs.copy_(mine)
    return reference


def pairs(model: AdaptedModel, reference: Any, gradients: bool = False) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Each factor of each site, here and in HF PEFT."""
    named = dict(model.method.named_parameters())
    for number, site in enumerate(model.method.sites):
        layer = reference.get_base_model().get_submodule(site.path)
        for part, attribute in TRIPLET.items():
            theirs = getattr(layer, attribute)["default"]
            name, row = place(model.method.sites, site, number, part)
            mine = (named[name].grad if gradients else named[name])[row]
            yield f"{part} of {site.path}", mine.reshape(theirs.shape), theirs.grad if gradients else theirs


def place(sites: tuple[Site, ...], site: Site, number: int, part: str) -> tuple[str, int]:
    if part == "diagonal":
        return part, number
    side = "in_features" if part == "down" else "out_features"
    size = getattr(site, side)
    shape = f"3x{size}" if part == "down" else f"{size}x3"
    return f"{part}.{shape}", [s for s in sites if getattr(s, side) == size].index(site)


@pytest.mark.parametrize(("warmup", "final", "interval"), [(0.15, 0.5, 0.1), (0.0, 0.25, 0.05), (0.1, 0.4, 0.35)])
def test_trains_as_hf_peft_does(base: nn.Module, warmup: float, final: float, interval: float) -> None:
    pristine = copy.deepcopy(base)
    settings = {"alpha": 8.0, "warmup": warmup, "final": final, "interval": interval, "beta1": 0.8, "beta2": 0.9, "orthogonality": 0.2}
    with attached(base, method_type("adalora"), TARGETS, capacity={"rank": 2}, settings=settings, scale=0.5) as model:
        disturb(model)
        phases = {"tinit": round(warmup * STEPS), "tfinal": round(final * STEPS), "deltaT": round(interval * STEPS), "total_step": STEPS}
        reference = reference_of(pristine, model, lora_alpha=4, beta1=0.8, beta2=0.9, orth_reg_weight=0.2, **phases)
        optimizers = [torch.optim.AdamW([p for p in m.parameters() if p.requires_grad], lr=RATE) for m in (model, reference)]
        (ids, mask), zeros = batch(), set()
        for step in range(STEPS):
            model.before_step(step, STEPS)
            logits, wanted = model(ids, mask).logits, reference(input_ids=ids, attention_mask=mask, labels=ids)
            assert torch.allclose(logits, wanted.logits, rtol=0, atol=1e-6)
            (loss_of(logits, ids) + model.penalty()).backward()
            wanted.loss.backward()
            for name, mine, theirs in pairs(model, reference, gradients=True):
                assert torch.allclose(mine, theirs, rtol=0, atol=1e-6), f"gradient of {name} at step {step}"
            for optimizer in optimizers:
                optimizer.step()
            model.method.after_step(step, STEPS)
            reference.base_model.update_and_allocate(step)
            for optimizer in optimizers:
                optimizer.zero_grad()
            for name, mine, theirs in pairs(model, reference):
                assert torch.allclose(mine, theirs, rtol=0, atol=1e-6), f"{name} after step {step}"
            zeros.add(int((model.method.diagonal == 0).sum()))
        assert int((model.method.diagonal != 0).sum()) == 2 * 8
        assert len(zeros) > 2, "the budget did not fall step by step"


def test_budgets_are_those_worked_out_by_hand() -> None:
    budget = CubicBudget(start=24, end=16, warmup=2, settled=10, interval=4)
    # Step 4: 16 + 8 * 0.75³ = 19.4, step 8: 16 + 8 * 0.25³ = 16.1.
    assert {step: budget.drops(step) for step in range(13)} == {
        **dict.fromkeys((0, 1, 2, 3, 5, 6, 7, 9)),
        4: 24 - 19,
        8: 24 - 16,
        **dict.fromkeys((10, 11, 12), 24 - 16),
    }
    assert [step for step in range(13) if budget.observes(step)] == list(range(10))
    assert [step for step in range(13) if budget.settles(step)] == [10, 11, 12]


def test_phases_of_the_published_cola_run_are_met_by_their_shares(base: nn.Module) -> None:
    """800, 3500 and 10 of 6700 steps."""
    shares = {"warmup": 800 / 6700, "final": 3500 / 6700, "interval": 10 / 6700}
    with attached(base, method_type("adalora"), ("q",), capacity={"rank": 2}, settings=shares) as model:
        assert model.method.schedule(6700) == CubicBudget(start=2 * 3, end=2 * 2, warmup=800, settled=3200, interval=10)


def test_counts_of_hf_peft() -> None:
    """RoBERTa-base with `init_r` 12 on query and value; HF PEFT's modules hold 24 numbers more that are not trained."""
    counted = count_on(ModelRef(id="roberta-base"), "adalora", ("q", "v"), {"rank": 8}, {})
    assert counted.counts.peak == counted.counts.stored == 442_656


@pytest.mark.parametrize(("rank", "ratio", "initial"), [(8, 1.5, 12), (3, 1.5, 5), (10, 1.1, 11), (12, 1, 12)])
def test_the_initial_rank_is_rounded_up(rank: int, ratio: float, initial: int) -> None:
    counted = count_on(ModelRef(id="micro-llama"), "adalora", ("q",), {"rank": rank}, {"init_ratio": ratio})
    assert counted.counts.peak == 2 * initial * (16 + 16 + 1)


@pytest.mark.parametrize("rank", [0, -1, 5, True, 2.0, "2"])
def test_bad_ranks_are_refused_with_the_limit(base: nn.Module, rank: Any) -> None:
    message = (
        r"adalora: rank .* is not valid. Valid: a whole number from 1 to 4 \(init_ratio 1.5 times it is at most 6, the smallest side\)"
    )
    with pytest.raises(CapacityError, match=message), attached(base, method_type("adalora"), TARGETS, capacity={"rank": rank}, settings={}):
        pass


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"init_ratio": 0.5}, "adalora: init_ratio 0.5 is not valid. Valid: a number at least 1, such as 1.5"),
        ({"warmup": -0.1}, "adalora: warmup -0.1 is not valid. Valid: a number at least 0, below 1"),
        ({"interval": 1}, "adalora: interval 1 is not valid. Valid: a number at least 0, below 1"),
        ({"warmup": 0.6, "final": 0.5}, "adalora: warmup 0.6 and final 0.5 leave no step between them. Valid: a sum below 1"),
        ({"beta2": 1.0}, "adalora: beta2 1.0 is not valid. Valid: a number above 0, below 1"),
        ({"orthogonality": -1.0}, "adalora: orthogonality -1.0 is not valid. Valid: a number at least 0"),
    ],
)
def test_bad_settings_are_refused(base: nn.Module, settings: dict[str, Any], message: str) -> None:
    with (
        pytest.raises(CapacityError, match=message),
        attached(base, method_type("adalora"), ("q",), capacity={"rank": 2}, settings=settings),
    ):
        pass


def test_without_weight_there_is_no_regulariser(base: nn.Module) -> None:
    with attached(base, method_type("adalora"), ("q",), capacity={"rank": 2}, settings={"orthogonality": 0.0}) as model:
        assert model.penalty() is None
