from __future__ import annotations

import math

import pytest
import torch

from search_spaces.trial import Checkpointing, ModelRef, Training
from trainers import models, registry
from trainers.adapters.attach import attached
from trainers.batches import token_losses
from trainers.batching import make_batch
from trainers.encoding import TrainSequence
from trainers.engine import Engine
from trainers.loop import evaluation_steps, total_steps
from trainers.schedules import learning_rate_factor


def training(**changes: object) -> Training:
    content = {
        "learning_rate": 0.01,
        "steps": 5,
        "batch_size": 3,
        "optimizer": "adamw",
        "betas": (0.9, 0.99),
        "eps": 1e-8,
        "weight_decay": 0.1,
        "scheduler": "cosine",
        "warmup_ratio": 0.4,
        "clip": 0.05,
        "dropout": 0.0,
        "max_length": 64,
        "checkpoint": Checkpointing(),
    }
    return Training.model_validate({**content, **changes})


def sequences() -> list[TrainSequence]:
    draw = torch.Generator().manual_seed(0)
    lengths, targets = (9, 14, 5), (3, 1, 4)
    return [TrainSequence(tuple(torch.randint(0, 250, (n,), generator=draw).tolist()), k) for n, k in zip(lengths, targets, strict=True)]


def test_the_loss_is_the_cross_entropy_of_the_target_tokens_alone() -> None:
    base = models.load(ModelRef(id="micro-llama"), torch.device("cpu"))
    rows = sequences()
    with attached(base.model, registry.method_type("lora"), ["q"], capacity={"rank": 2}, settings={}) as model, torch.no_grad():
        losses = token_losses(model, make_batch(rows, base.tokenizer.pad_token_id, torch.device("cpu")))
        for row, found in zip(rows, losses, strict=True):
            ids = torch.tensor([row.ids])
            logits = model(ids, torch.ones_like(ids)).logits[0]
            expected = torch.nn.functional.cross_entropy(logits[-row.targets - 1 : -1], ids[0, -row.targets :], reduction="sum")
            assert float(found.sum()) == pytest.approx(float(expected), rel=1e-5)


@pytest.mark.parametrize("micro", [3, 1])
def test_deepspeed_takes_the_steps_of_plain_torch(micro: int) -> None:
    base = models.load(ModelRef(id="micro-llama"), torch.device("cpu"))
    rows, setting = sequences(), training(micro_batch=micro)
    pad, device = base.tokenizer.pad_token_id, torch.device("cpu")
    total = sum(row.targets for row in rows)
    results = []
    for plain in (True, False):
        with attached(base.model, registry.method_type("lora"), ["q", "v"], capacity={"rank": 2}, settings={}, init_seed=3) as model:
            batches = [make_batch(rows[i : i + micro], pad, device) for i in range(0, 3, micro)]
            if plain:
                whole = make_batch(rows, pad, device)
                optimizer = torch.optim.AdamW(model.trainable().values(), lr=0.01, betas=(0.9, 0.99), weight_decay=0.1)
                for step in range(5):
                    for group in optimizer.param_groups:
                        group["lr"] = 0.01 * learning_rate_factor(setting, step, 5)
                    (token_losses(model, whole).sum() / total).backward()
                    torch.nn.utils.clip_grad_norm_(model.trainable().values(), 0.05)
                    optimizer.step()
                    optimizer.zero_grad()
            else:
                engine = Engine(model, setting, 5, head=lambda name: False)
                for _ in range(5):
                    engine.step(batches, total)
                engine.close()
            results.append({name: p.detach().clone() for name, p in model.trainable().items()})
    for name, expected in results[0].items():
        torch.testing.assert_close(results[1][name], expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(("scheduler", "last"), [("linear", 1 / 3), ("cosine", 0.5 * (1 + math.cos(math.pi * 2 / 3))), ("constant", 1.0)])
def test_schedules_rise_then_fall(scheduler: str, last: float) -> None:
    factors = [learning_rate_factor(training(scheduler=scheduler), step, 5) for step in range(5)]
    assert factors[:3] == [pytest.approx(1 / 3), pytest.approx(2 / 3), 1.0]
    assert factors[4] == pytest.approx(last)


def test_a_budget_in_epochs_covers_every_example() -> None:
    assert total_steps(training(steps=None, epochs=3, batch_size=8), 1000) == 375
    assert total_steps(training(steps=None, epochs=1, batch_size=8), 9) == 2


def test_evaluations_are_equally_spaced_and_end_with_the_last_step() -> None:
    assert evaluation_steps(training(checkpoint={"best": "metric", "evaluations": 4}), 10) == {2, 5, 8, 10}
    assert evaluation_steps(training(checkpoint={"best": "metric", "evaluations": 9}), 3) == {1, 2, 3}
