"""Trials in a pack compute what they compute alone: every packable method, on a language model and on an encoder.

That a step of two trials of one method equals theirs alone is asked of every method by the conformance suite. Here are trajectories,
mixtures, dropout, and neighbours that must not be felt.
"""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch

from trainers import registry
from trainers.testing import MethodCase
from trainers.testing.cases import resident
from trainers.testing.packs import PackedTrial, Trace, alone, together

STEPS = 5
FP32, FP64 = 1e-6, 1e-10
REFUSED = {("bitfit", "micro-llama"), ("lorta_head", "micro-llama")}
PACKABLE = tuple(name for name in registry.method_names() if registry.method_type(name).card.packable)
ON = [(name, model) for model in ("micro-llama", "micro-bert") for name in PACKABLE if (name, model) not in REFUSED]
OVERFLOWING = 1e30
"""A learning rate after whose first step nothing is finite any more."""


def case_of(name: str, model: str = "micro-llama", rank: int = 2) -> MethodCase:
    return MethodCase(name, dict.fromkeys(registry.method_type(name).card.capacity, rank), model=model)


def trial_of(name: str, model: str = "micro-llama", seed: int = 1, **changes: float) -> PackedTrial:
    return PackedTrial(case_of(name, model), seed, **changes)


@pytest.mark.parametrize(("name", "model"), ON)
def test_trajectories_agree_in_fp64(name: str, model: str) -> None:
    """Step by step, each from what the last one left: beside another trial of the same method, and one of another."""
    base = resident(model, torch.float64)
    trials = [trial_of(name, model, 1), trial_of(name, model, 2), trial_of("lora", model, 3)]
    traces, _ = together(base, trials, STEPS)
    for trial, trace in zip(trials, traces, strict=True):
        trace.assert_like(alone(base, trial, STEPS), FP64)


@pytest.mark.parametrize(("name", "model"), ON)
def test_company_changes_no_bit(name: str, model: str) -> None:
    """A trial has the same bits alone in a pack and beside others, of which one overflows."""
    base, trial = resident(model), trial_of(name, model)
    (wanted,), rows = together(base, [trial], 3)
    assert rows == [2, 2, 2]
    company = [trial_of("lora", model, 2, learning_rate=OVERFLOWING), trial, trial_of(name, model, 3, learning_rate=OVERFLOWING)]
    traces, rows = together(base, company, 3)
    assert not all(torch.isfinite(value).all() for value in traces[0].parameters[-1].values()), "the neighbour did not overflow"
    assert traces[1].same_bits(wanted)


@pytest.mark.parametrize("model", ["micro-llama", "micro-bert"])
def test_all_methods_in_one_pack(model: str) -> None:
    """From the same parameters every step of every method is that of the trial alone."""
    base, trials = resident(model), [trial_of(name, kind, n) for n, (name, kind) in enumerate(ON) if kind == model]
    apart = [alone(base, trial, 2) for trial in trials]
    packed, _ = together(base, trials, 2, [trace.parameters for trace in apart])
    assert_alike(packed, apart, FP32)


@pytest.mark.parametrize("name", ["lora", "fact_tt", "melora", "dylora", "dora_weight"])
def test_dropout_is_each_trials_own(name: str) -> None:
    """Trials with different probabilities, and one without dropout, draw what they draw alone."""
    base, probabilities = resident("micro-llama"), (0.1, 0.0, 0.5)
    trials = [trial_of(name, seed=n, dropout=p) for n, p in enumerate(probabilities)]
    apart = [alone(base, trial, 3) for trial in trials]
    packed, _ = together(base, trials, 3, [trace.parameters for trace in apart])
    assert_alike(packed, apart, FP32)


def test_equal_methods_of_different_ranks_share_a_pass() -> None:
    base = resident("micro-llama")
    trials = [PackedTrial(case_of("lora", rank=rank), seed) for seed, rank in enumerate((1, 2, 2, 4, 1))]
    apart = [alone(base, trial, 3) for trial in trials]
    packed, rows = together(base, trials, 3, [trace.parameters for trace in apart])
    assert rows == [10] * 3
    assert_alike(packed, apart, FP32)


def test_a_base_in_bf16() -> None:
    """Adapters compute in fp32 there; a product of several lanes is rounded to bf16 like that of one."""
    base = resident("micro-llama", torch.bfloat16)
    trials = [trial_of("lora", seed=1), trial_of("lora", seed=2), trial_of("ia3", seed=3)]
    apart = [alone(base, trial, 2) for trial in trials]
    packed, _ = together(base, trials, 2, [trace.parameters for trace in apart])
    # One rounding of bf16, 2^-8, that falls the other way is felt by all that follows.
    assert_alike(packed, apart, 0.02)


def assert_alike(packed: Sequence[Trace], apart: Sequence[Trace], tolerance: float) -> None:
    for mine, theirs in zip(packed, apart, strict=True):
        mine.assert_like(theirs, tolerance)
