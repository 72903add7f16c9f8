"""Rank allocation in whole trainings: budgets, checkpoints, several workers; and the stacks that its factors live in."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from search_spaces.errors import NotApplicableError
from search_spaces.trial import ModelRef
from trainers.adapters.allocation import lowest
from trainers.adapters.attach import AdaptedModel, attached
from trainers.adapters.sensitivity import Sensitivities
from trainers.adapters.stacks import Stack
from trainers.models import load
from trainers.registry import method_type
from trainers.testing.oracle import batch, loss_of

CAPACITY = {"adalora": {"rank": 2}, "dora_rank": {"rank": 2}, "lora2": {"inner": 2, "rank": 4}}
FINAL = {"adalora": 2 * 4, "dora_rank": 2 * 4, "lora2": round(0.3125 * 4 * 4)}
"""Components that are left on the four matrices of micro-llama's q and v."""


@pytest.fixture(scope="module")
def base() -> nn.Module:
    return load(ModelRef(id="micro-llama"), torch.device("cpu")).model


def optimizer_of(model: AdaptedModel) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.trainable().values(), lr=1e-2)


def train(model: AdaptedModel, optimizer: torch.optim.Optimizer, first: int, last: int, steps: int) -> list[Tensor]:
    """Take the steps `first` to `last` - 1; return which components are zero after each."""
    zeros = []
    for step in range(first, last):
        model.before_step(step, steps)
        ids, mask = batch()
        loss, penalty = loss_of(model(ids, mask).logits, ids), model.penalty()
        (loss if penalty is None else loss + penalty).backward()
        optimizer.step()
        model.method.after_step(step, steps)
        optimizer.zero_grad()
        zeros.append(model.method.diagonal.detach().eq(0))
    return zeros


@pytest.mark.parametrize("name", CAPACITY)
@pytest.mark.parametrize("steps", [1, 2, 3, 7, 24])
def test_every_training_ends_with_the_components_that_were_asked_for(base: nn.Module, name: str, steps: int) -> None:
    with attached(base, method_type(name), ("q", "v"), capacity=CAPACITY[name], settings={}) as model:
        zeros = train(model, optimizer_of(model), 0, steps, steps)
        assert int((~zeros[-1]).sum()) == FINAL[name]


@pytest.mark.parametrize("name", CAPACITY)
def test_components_come_back_until_the_choice_is_final(base: nn.Module, name: str) -> None:
    """With a choice at every fifth step, all are back right after one; from the final choice on the same ones stay out."""
    with attached(base, method_type(name), ("q", "v"), capacity=CAPACITY[name], settings={"interval": 0.125}) as model:
        zeros = train(model, optimizer_of(model), 0, 40, 40)
    counts = [int(zero.sum()) for zero in zeros]
    settled = next(step for step in range(40) if all(torch.equal(zeros[step], later) for later in zeros[step:]) and counts[step])
    chosen = [step for step in range(settled) if counts[step]]
    assert len(chosen) >= 2 and all(counts[step + 1] == 0 for step in chosen if step + 1 < settled)
    assert settled <= 21 and counts[settled:] == [model.method.diagonal.numel() - FINAL[name]] * (40 - settled)


@pytest.mark.parametrize("name", CAPACITY)
@pytest.mark.parametrize("stop", [1, 5, 9, 14])
def test_a_continued_training_has_the_same_bits(base: nn.Module, name: str, stop: int, tmp_path: Path) -> None:
    """Stopped in the warm-up, while components are taken out, and after the final choice."""
    steps, options = 18, {"capacity": CAPACITY[name], "settings": {"interval": 0.1}}
    with attached(base, method_type(name), ("q", "v"), **options) as model:
        train(model, optimizer_of(model), 0, steps, steps)
        wanted = {key: p.detach().clone() for key, p in model.trainable().items()}
        remembered = model.method.training_state()
    with attached(base, method_type(name), ("q", "v"), **options) as model:
        optimizer = optimizer_of(model)
        train(model, optimizer, 0, stop, steps)
        save_file({key: p.detach().clone() for key, p in model.trainable().items()}, tmp_path / "adapter")
        save_file({key: t.clone() for key, t in model.method.training_state().items()}, tmp_path / "state")
        moments = optimizer.state_dict()
    with attached(base, method_type(name), ("q", "v"), **options, init_seed=9) as model:
        with torch.no_grad():
            for key, tensor in load_file(tmp_path / "adapter").items():
                model.trainable()[key].copy_(tensor)
        model.method.load_training_state(load_file(tmp_path / "state"))
        optimizer = optimizer_of(model)
        optimizer.load_state_dict(moments)
        train(model, optimizer, stop, steps, steps)
        assert all(torch.equal(p, wanted[key]) for key, p in model.trainable().items())
        assert remembered.keys() == model.method.training_state().keys() == {"dropped"}
        assert torch.equal(remembered["dropped"], model.method.training_state()["dropped"])


def test_the_state_in_the_middle_is_what_the_scores_need(base: nn.Module) -> None:
    with attached(base, method_type("adalora"), ("q", "v"), capacity={"rank": 2}, settings={}) as model:
        train(model, optimizer_of(model), 0, 3, 20)
        names = {"diagonal", "down.3x16", "up.16x3"}
        assert model.method.training_state().keys() == {f"{kind}.{name}" for kind in ("mean", "deviation") for name in names}


def test_sensitivities_without_gradients_are_refused() -> None:
    with pytest.raises(NotApplicableError, match="sensitivities need gradients, and after the step x has none. Fix: "):
        Sensitivities(0.8, 0.8).update({"x": nn.Parameter(torch.ones(2))})


def test_sensitivities_are_those_worked_out_by_hand() -> None:
    x, smoothed = nn.Parameter(torch.tensor([2.0, -1.0])), Sensitivities(0.5, 0.75)
    x.grad = torch.tensor([-1.0, 4.0])
    smoothed.update({"x": x})  # I = (2, 4), mean (1, 2), deviation (1, 2) / 4
    assert smoothed.scores()["x"].tolist() == [0.25, 1.0]
    x.grad = torch.tensor([3.0, 0.0])
    smoothed.update({"x": x})  # I = (6, 0), mean (3.5, 1), |I - mean| = (2.5, 1), deviation (0.8125, 0.625)
    assert smoothed.scores()["x"].tolist() == [3.5 * 0.8125, 0.625]


WORKER = """
import json, sys, torch
from torch import distributed, nn
from trainers.adapters.sensitivity import Sensitivities
rank, store = int(sys.argv[1]), sys.argv[2]
distributed.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=2)
first, second = nn.Parameter(torch.tensor([2.0, -1.0])), nn.Parameter(torch.tensor([[3.0]]))
first.grad, second.grad = torch.tensor([[1.0, 2.0], [3.0, -6.0]][rank]), torch.tensor([[[5.0]], [[-1.0]]][rank])
sensitivities = Sensitivities(0.5, 0.5)
sensitivities.update({"first": first, "second": second})
print(json.dumps({name: tensor.flatten().tolist() for name, tensor in sensitivities.mean.items()}))
distributed.destroy_process_group()
"""


def test_workers_with_different_gradients_score_alike(tmp_path: Path) -> None:
    """I = (2, 2) and (6, 6), and 15 and 3: their means 4, 4 and 9, halved by the first step of smoothing."""
    command = [sys.executable, "-c", WORKER]
    workers = [
        subprocess.Popen([*command, str(rank), str(tmp_path / "store")], stdout=subprocess.PIPE, text=True, cwd=Path.cwd())
        for rank in range(2)
    ]
    try:
        outputs = [json.loads(worker.communicate(timeout=120)[0]) for worker in workers]
    finally:
        for worker in workers:
            worker.kill()
    assert outputs == [{"first": [2.0, 2.0], "second": [4.5]}] * 2


@given(st.lists(st.floats(0, 9), min_size=1, max_size=12, unique=True), st.data())
@settings(max_examples=40, deadline=None)
def test_the_lowest_are_as_many_as_asked(values: list[float], data: Any) -> None:
    count = data.draw(st.integers(0, len(values)))
    scores = torch.tensor(values, dtype=torch.float64)
    assert scores[lowest(scores, count)].sort().values.tolist() == sorted(values)[:count]


def test_scores_that_tie_with_the_last_go_with_it() -> None:
    assert lowest(torch.tensor([[1.0, 3.0], [1.0, 2.0]]), 1).tolist() == [[True, False], [True, False]]


@given(st.lists(st.tuples(st.integers(1, 2), st.integers(1, 3)), min_size=1, max_size=7))
@settings(max_examples=40, deadline=None)
def test_a_stack_keeps_each_site_s_factor(shapes: list[tuple[int, int]]) -> None:
    stack = Stack(shapes)
    with torch.no_grad():
        for parameter in stack.values():
            parameter.zero_()
        for number, factor in enumerate(stack.by_site()):
            assert factor.shape == shapes[number]
            factor.fill_(number)
    assert len(stack) == len(set(shapes))
    values = stack.join(group.mean((1, 2)) for group in stack.values())
    assert values.tolist() == list(range(len(shapes)))
    for group, part in zip(stack.values(), stack.split(values), strict=True):
        assert torch.equal(group[:, 0, 0], part)


def test_gradients_come_back_to_the_sites_they_are_from() -> None:
    stack = Stack([(1, 2), (1, 3), (1, 2)])
    sum((number + 1) * factor.sum() for number, factor in enumerate(stack.by_site())).backward()
    assert stack["1x2"].grad.tolist() == [[[1.0, 1.0]], [[3.0, 3.0]]]
    assert stack["1x3"].grad.tolist() == [[[2.0, 2.0, 2.0]]]
