"""What holds for every registered optimiser: a new one is tested unasked."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from search_spaces.errors import UnknownNameError
from search_spaces.trial import Checkpointing, Training
from trainers import registry
from trainers.optimizer import OnlineOptimizer, Optimizer

HYPERPARAMETERS = set(Training.model_fields) | {"learning_rate", "head_learning_rate"}


def training(name: str) -> Training:
    content: dict[str, Any] = {
        "learning_rate": 0.05,
        "steps": 9,
        "batch_size": 1,
        "optimizer": name,
        "betas": (0.9, 0.99),
        "eps": 1e-8,
        "weight_decay": 0.0,
        "scheduler": "constant",
        "warmup_ratio": 0.0,
        "clip": None,
        "dropout": 0.0,
        "max_length": 64,
        "checkpoint": Checkpointing(),
    }
    return Training(**content)


@pytest.fixture(params=registry.optimizer_names())
def kind(request: pytest.FixtureRequest) -> type[Optimizer]:
    return registry.optimizer_type(request.param)


def test_the_card_is_complete(kind: type[Optimizer]) -> None:
    card = kind.card
    assert card.name in registry.optimizer_names() and registry.optimizer_type(card.name) is kind
    assert card.reference and card.source and card.forms
    assert set(card.reads) <= HYPERPARAMETERS
    assert card.limit or len(card.forms) == 3, "a form is refused without a reason"
    assert all(setting.default in setting.choices for setting in card.settings.values() if setting.choices)


def test_its_settings_are_no_keys_of_a_method(kind: type[Optimizer]) -> None:
    for name in registry.method_names():
        card = registry.method_type(name).card
        assert not set(kind.card.settings) & {*card.capacity, *card.settings, "method", "optimizer"}, name


def test_it_fits_a_line_and_its_state_is_tensors(kind: type[Optimizer]) -> None:
    theta = torch.nn.Parameter(torch.zeros(2))
    optimizer = kind.build([{"params": [theta]}], training(kind.card.name))
    truth, draw = torch.tensor([1.0, -1.0]), torch.Generator().manual_seed(0)
    for _ in range(300):
        x = torch.randn(2, generator=draw)
        predicted, target = (x @ theta)[None], x @ truth
        if isinstance(optimizer, OnlineOptimizer):
            optimizer.observe(predicted, target)
        else:
            (predicted - target).square().sum().backward()
            optimizer.step()
            optimizer.zero_grad()
    assert float((theta.detach() - truth).abs().max()) < 0.2
    state = optimizer.state_dict()["state"]
    assert state and all(torch.is_tensor(value) for values in state.values() for value in values.values())


def test_an_unknown_optimiser_is_suggested_another() -> None:
    with pytest.raises(UnknownNameError, match="unknown optimizer 'lokko'. Did you mean 'loko'?"):
        registry.optimizer_type("lokko")


def test_the_version_is_of_the_file() -> None:
    versions = {registry.optimizer_version(name) for name in registry.optimizer_names()}
    assert len(versions) == len(registry.optimizer_names()) and all(len(version) == 12 for version in versions)
