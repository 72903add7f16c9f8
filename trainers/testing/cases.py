"""Micro models with a method attached, as the conformance tests use them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

from search_spaces.trial import ModelRef
from trainers import registry
from trainers.adapters.attach import AdaptedModel, attached
from trainers.adapters.method import Method
from trainers.group import alone
from trainers.models import load, meta_model
from trainers.partitioning import Partitioned
from trainers.testing.oracle import batch, loss_of


@dataclass(frozen=True)
class MethodCase:
    """A method as the suite tests it."""

    method: str | type[Method]
    """Registry name or class."""
    capacity: Mapping[str, Any] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    targets: Sequence[str] = ("q", "v")
    model: str = "micro-llama"
    formula: int | None = None
    """The published number of trainable parameters at this capacity."""
    learning_rate: float = 1e-2
    steps: int = 8

    @property
    def kind(self) -> type[Method]:
        """The method's class."""
        return registry.method_type(self.method) if isinstance(self.method, str) else self.method


@cache
def resident(name: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    """Return a registered base, loaded once per dtype."""
    return load(ModelRef(id=name), torch.device("cpu")).model.to(dtype)


@cache
def shapes_of(name: str) -> nn.Module:
    """Return the same on the meta device."""
    return meta_model(ModelRef(id=name))


@contextmanager
def partitioned(name: str) -> Iterator[nn.Module]:
    """Load a registered base and partition it by ZeRO-3, for the length of a `with` block."""
    base = load(ModelRef(id=name), torch.device("cpu")).model
    parts = Partitioned(base, {"stage3_param_persistence_threshold": 0}, alone())
    try:
        yield base
    finally:
        parts.close()


@contextmanager
def attached_case(
    case: MethodCase, base: nn.Module, init_seed: int = 1, scale: float = 1.0, dropout: float = 0.0
) -> Iterator[AdaptedModel]:
    """Attach a case's method to a base, with the base's own head."""
    options: dict[str, Any] = {"capacity": case.capacity, "settings": case.settings, "scale": scale, "dropout": dropout}
    with attached(base, case.kind, case.targets, **options, init_seed=init_seed) as model:
        model.head.take(model.pristine.parameters)  # a fresh head would hide what the method does
        yield model


def writes_text(case: MethodCase) -> bool:
    """Tell whether the base is a causal language model."""
    return bool(getattr(resident(case.model), "can_generate", lambda: False)())


def logits_of(model: AdaptedModel, ids: Tensor, mask: Tensor) -> Tensor:
    """Return the adapted output in evaluation."""
    with model.evaluating():
        logits: Tensor = model(ids, mask).logits
    return logits


def loss_on(model: AdaptedModel, ids: Tensor, mask: Tensor) -> Tensor:
    """Return the loss of a batch in fp32."""
    return loss_of(model(ids, mask).logits.float(), ids)


def train(model: AdaptedModel, case: MethodCase, steps: int) -> list[float]:
    """Take AdamW steps on one batch, as the training loop does; return the loss before each step and after the last."""
    optimizer = torch.optim.AdamW(model.trainable().values(), lr=case.learning_rate, weight_decay=0.0)
    losses = []
    for step in range(steps):
        model.before_step(step, steps)
        loss = loss_on(model, *batch())
        losses.append(float(loss.detach()))
        penalty = model.penalty()
        (loss if penalty is None else loss + penalty).backward()
        optimizer.step()
        model.method.after_step(step, steps)
        optimizer.zero_grad()
    with model.evaluating():
        return [*losses, float(loss_on(model, *batch()))]


def relative(given: Tensor, wanted: Tensor) -> float:
    """Return the relative difference of two outputs."""
    return float((given.double() - wanted.double()).norm() / wanted.double().norm())


def initial(case: MethodCase, base: nn.Module, seed: int) -> dict[str, Tensor]:
    """Return the trainable parameters as they start."""
    with attached_case(case, base, init_seed=seed) as model:
        return {name: p.detach().clone() for name, p in model.trainable().items()}


def structure(base: nn.Module) -> Any:
    """Return all that attaching may change of a base, but its weights."""
    hooks: Callable[[nn.Module], int] = lambda m: len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks)  # noqa: E731
    config: Any = base.config
    modules = [(name, type(m), hooks(m), m.training, sorted(vars(m))) for name, m in base.named_modules()]
    return modules, list(base.state_dict()), config.to_dict()


def document(case: MethodCase) -> dict[str, Any]:
    """Return what is stored beside an adapter."""
    method = {"name": case.kind.card.name, "version": "-", "capacity": dict(case.capacity), "settings": dict(case.settings)}
    return {"model": {"id": case.model}, "method": method, "targets": list(case.targets), "init_seed": 1}
