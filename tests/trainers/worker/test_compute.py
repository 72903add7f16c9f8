"""Trials under `compute` and with bucketed batches: what changes in an Outcome, and what must not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from orchestrator.audit import environment_of
from search_spaces.compute import Compute, Kernel
from search_spaces.trial import ModelRef, Trial
from trainers.engine import kernel_options
from trainers.results import Outcome

Run = Callable[..., Outcome]
TrialOf = Callable[..., Trial]
KERNELS: tuple[Kernel, Kernel] = ("auto", "fused")


def losses(outcome: Outcome) -> list[float]:
    assert outcome.status == "finished", outcome.error
    return [value for _, value in outcome.curves["train/loss"]]


@pytest.mark.parametrize("kernel", ["loop", "foreach", "fused"])
def test_a_kernel_changes_rounding_at_most(run: Run, trial_of: TrialOf, kernel: Any) -> None:
    trial = trial_of()
    plain, chosen = run(trial), run(trial, compute=Compute(optimizer_kernel=kernel))
    # Torch computes the first two by the same operations on CPU.
    assert losses(chosen) == (pytest.approx(losses(plain), rel=1e-5) if kernel == "fused" else losses(plain))
    assert "compute" not in plain.environment["execution"]
    assert chosen.environment["execution"]["compute"] == {"optimizer_kernel": kernel}
    assert chosen.environment_digest != plain.environment_digest
    assert environment_of(chosen.environment) != environment_of(plain.environment)


def test_a_kernel_goes_on_from_the_state_of_another() -> None:
    parameters = [torch.nn.Parameter(torch.ones(4)) for _ in range(2)]
    states: list[dict[Any, Any]] = []
    for parameter, kernel in zip(parameters, KERNELS, strict=True):
        optimizer = torch.optim.AdamW([{"params": [parameter], **kernel_options(kernel)}], lr=0.1)
        if states:
            optimizer.load_state_dict({**optimizer.state_dict(), "state": states[0]})
        for _ in range(2):
            parameter.grad = torch.full((4,), 0.5)
            optimizer.step()
        states.append(optimizer.state_dict()["state"])
    assert int(states[1][0]["step"]) == 4


@pytest.mark.parametrize(("method", "changes"), [("lora", {"dropout": 0.3}), ("prefix", {}), ("full", {"micro_batch": 2})])
def test_gradient_checkpointing_changes_no_number(run: Run, trial_of: TrialOf, method: str, changes: dict[str, Any]) -> None:
    capacity = {"lora": {"rank": 2}, "prefix": {"tokens": 2}}.get(method, {})
    trial = trial_of(method, capacity=capacity, training=changes)
    plain, saving = run(trial), run(trial, compute=Compute(gradient_checkpointing=True))
    assert losses(saving) == losses(plain)
    assert saving.metrics == plain.metrics
    # What is computed again is computed all the same.
    assert saving.profile.flops is not None and plain.profile.flops is not None
    assert saving.profile.flops > plain.profile.flops


def test_an_online_optimizer_goes_through_recomputed_layers_once_per_output(run: Run, trial_of: TrialOf) -> None:
    training = {"optimizer": "loko", "steps": 2}
    trial = trial_of("lora", "sst2", capacity={"rank": 2}, model=ModelRef(id="micro-bert"), training=training)
    assert losses(run(trial, compute=Compute(gradient_checkpointing=True, optimizer_kernel="fused"))) == losses(run(trial))


def test_bucketed_batches_are_another_trial_in_one_order_for_all_methods(run: Run, trial_of: TrialOf) -> None:
    shuffled = trial_of(training={"steps": 6, "batch_size": 2})
    bucketed = trial_of(training={"steps": 6, "batch_size": 2, "batches": "bucketed"})
    other = trial_of("prefix", capacity={"tokens": 2}, training={"steps": 6, "batch_size": 2, "batches": "bucketed"})
    assert shuffled.id != bucketed.id
    outcomes = [run(trial) for trial in (shuffled, bucketed, other)]
    orders = [outcome.data_digests["order"] for outcome in outcomes]
    assert orders[1] == orders[2] != orders[0]
    assert outcomes[0].usage.text_tokens == outcomes[1].usage.text_tokens, "an epoch has other examples"
