"""Full fine-tuning against ordinary training of the same model."""

import torch
from torch import Tensor, nn

from search_spaces.trial import ModelRef
from trainers.adapters.attach import attached
from trainers.adapters.snapshot import fingerprint
from trainers.models import load
from trainers.registry import method_type

IDS = torch.randint(0, 256, (2, 9), generator=torch.Generator().manual_seed(1))
MASK = torch.ones_like(IDS)


def micro() -> nn.Module:
    return load(ModelRef(id="micro-llama"), torch.device("cpu")).model


def loss_of(logits: Tensor) -> Tensor:
    return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), IDS[:, 1:].flatten())


def test_trains_as_the_model_itself_would() -> None:
    ordinary, base = micro().requires_grad_(True), micro()
    with attached(base, method_type("full"), ("q", "v"), capacity={}, settings={}) as model:
        optimizers = [torch.optim.AdamW(p, lr=1e-3) for p in (list(ordinary.parameters()), list(model.trainable().values()))]
        for _ in range(3):
            for logits, optimizer in zip((ordinary(input_ids=IDS).logits, model(IDS, MASK).logits), optimizers, strict=True):
                loss_of(logits).backward()
                optimizer.step()
                optimizer.zero_grad()
        trained = model.method.stored()
        for name, parameter in ordinary.named_parameters():
            assert torch.equal(trained[name], parameter), name


def test_small_steps_are_not_lost_on_a_bf16_base() -> None:
    base = micro().to(torch.bfloat16)
    bits = fingerprint(base)
    with attached(base, method_type("full"), (), capacity={}, settings={}) as model:
        before = {name: tensor.clone() for name, tensor in model.method.stored().items()}
        optimizer = torch.optim.SGD(model.trainable().values(), lr=1e-5)
        loss_of(model(IDS, MASK).logits).backward()
        optimizer.step()
        after = model.method.stored()
    for name in (name for name in before if "proj" in name):
        assert not torch.equal(after[name], before[name]), name
        assert torch.equal(after[name].bfloat16(), before[name].bfloat16()), f"{name}: the step is not small"
    assert fingerprint(base) == bits


def test_tied_embeddings_have_one_copy() -> None:
    base = micro()
    with attached(base, method_type("full"), (), capacity={}, settings={}) as model:
        assert "lm_head.weight" not in model.method.stored()
        assert sum(p.numel() for p in model.trainable().values()) == sum(p.numel() for p in base.parameters())
