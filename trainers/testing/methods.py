"""Conformance tests of methods."""

from __future__ import annotations

import fnmatch
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import peft
import pytest
import torch
from torch import Tensor, nn

from search_spaces.errors import NotApplicableError
from search_spaces.trial import ModelRef
from trainers import registry
from trainers.adapters import export, storing
from trainers.adapters.attach import AdaptedModel, adapter_dtype, attached
from trainers.adapters.merging import merged
from trainers.adapters.method import Method
from trainers.adapters.snapshot import fingerprint
from trainers.counting import count, measured
from trainers.models import load, meta_model
from trainers.testing.oracle import batch, disturb, loss_of

EXACT, NEAR, BF16 = 2e-6, 0.05, 0.03
"""Largest relative difference between outputs: equal up to rounding in fp32, of a start that is `near` the base's, and of a base
in bf16, beyond what its own rounding explains."""


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


class MethodSuite:
    """Tests of one method; set the class attributes, or override the fixture `case` to run it over several."""

    method: ClassVar[str | type[Method]]
    capacity: ClassVar[Mapping[str, Any]] = {}
    settings: ClassVar[Mapping[str, Any]] = {}
    targets: ClassVar[Sequence[str]] = ("q", "v")
    formula: ClassVar[int | None] = None

    @pytest.fixture
    def case(self) -> MethodCase:
        """The method under test."""
        return MethodCase(self.method, self.capacity, self.settings, self.targets, formula=self.formula)

    def test_starts_as_declared(self, case: MethodCase) -> None:
        """The output before the first step is the base's, near it, or another one, as the card says."""
        base, (ids, mask) = _base(case.model), batch()
        with torch.no_grad():
            before = base(input_ids=ids, attention_mask=mask).logits
        with _attached(case, base) as model:
            difference = _relative(_logits(model, ids, mask), before)
        declared = case.kind.card.starts_as
        assert difference <= {"identity": EXACT, "near": NEAR, "other": float("inf")}[declared], f"{difference} is not {declared}"
        if declared == "other":
            assert difference > NEAR, "the card says `other`, the output is near the base's"

    def test_first_step_trains_what_is_declared(self, case: MethodCase) -> None:
        """Exactly the parameters that the card names have a gradient in the first step."""
        with _attached(case, _base(case.model)) as model:
            _loss(model, *batch()).backward()
            parameters = dict(model.method.named_parameters())
            moved = {name for name, p in parameters.items() if p.grad is not None and bool(p.grad.any())}
            trained = {name for name, p in parameters.items() if p.requires_grad}
        assert moved == {n for n in trained if any(fnmatch.fnmatch(n, pattern) for pattern in case.kind.card.trains_at_start)}
        assert trained, "the method trains nothing"

    def test_counts_agree(self, case: MethodCase) -> None:
        """The count from shapes alone equals that of the built adapter, and the published formula where one is given."""
        with _attached(case, _base(case.model)) as model:
            built = measured(model)
            trainable = sum(p.numel() for p in model.trainable().values())
        counted = count(_meta(case.model), case.kind, case.targets, case.capacity, case.settings)
        assert counted == built
        assert counted.counts.trainable == trainable
        assert case.formula in (None, counted.counts.peak)

    def test_initialisation_follows_its_seed(self, case: MethodCase) -> None:
        """One seed gives one adapter, another seed another one unless nothing is drawn; no other random stream is disturbed."""
        base = _base(case.model)
        state = torch.random.get_rng_state()
        first, again, other = (_initial(case, base, seed) for seed in (3, 3, 4))
        assert torch.equal(state, torch.random.get_rng_state())
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert first.keys() == other.keys()

    def test_stores_and_restores(self, case: MethodCase, tmp_path: Path) -> None:
        """An adapter that was stored and restored gives the same output."""
        base, (ids, mask) = _base(case.model), batch()
        with _attached(case, base) as model:
            disturb(model)
            wanted = _logits(model, ids, mask)
            size = storing.save(model, tmp_path / "adapter", _document(case))
        state, document = storing.load(tmp_path / "adapter")
        with _attached(case, base, init_seed=document.init_seed) as model:
            storing.restore(model, state)
            assert _relative(_logits(model, ids, mask), wanted) <= EXACT
        assert size == (tmp_path / "adapter" / storing.TENSORS).stat().st_size

    def test_merged_equals_attached(self, case: MethodCase) -> None:
        """The base with the adapter folded in gives the adapted output; a method that cannot be merged says so."""
        base, (ids, mask) = _base(case.model), batch()
        with _attached(case, base) as model:
            disturb(model)
            wanted = _logits(model, ids, mask)
            if model.method.unmergeable() is not None:
                with pytest.raises(NotApplicableError), merged(model):
                    pass
                return
            with merged(model) as whole, torch.no_grad():
                given = whole(input_ids=ids, attention_mask=mask).logits
            assert _relative(given, wanted) <= 10 * EXACT
            assert _relative(_logits(model, ids, mask), wanted) == 0, "the adapter is not attached as before"

    def test_exported_lora_is_the_adapter(self, case: MethodCase, tmp_path: Path) -> None:
        """HF PEFT loads the exported LoRA on a base of its own and gives the adapted output; other methods say why they have none."""
        base, (ids, mask) = _base(case.model), batch()
        with _attached(case, base) as model:
            disturb(model)
            if not case.kind.card.exports_lora:
                with pytest.raises(NotApplicableError):
                    export.write(model, "lora", tmp_path / "lora", case.model, None)
                return
            wanted = _logits(model, ids, mask)
            export.write(model, "lora", tmp_path / "lora", case.model, None)
        theirs = peft.PeftModel.from_pretrained(load(ModelRef(id=case.model), torch.device("cpu")).model, str(tmp_path / "lora")).eval()
        with torch.no_grad():
            assert _relative(theirs(input_ids=ids, attention_mask=mask).logits, wanted) <= 10 * EXACT

    def test_loss_falls(self, case: MethodCase) -> None:
        """Training on one batch lowers its loss."""
        with _attached(case, _base(case.model)) as model:
            losses = _train(model, case, case.steps)
        assert losses[-1] < losses[0]

    def test_leaves_the_base_alone(self, case: MethodCase) -> None:
        """After training, the base has the same bits, modules, hooks and flags as before."""
        base = _base(case.model)
        bits, structure = fingerprint(base), _structure(base)
        with _attached(case, base) as model:
            _train(model, case, 2)
        assert fingerprint(base) == bits
        assert _structure(base) == structure
        assert not any(p.requires_grad or p.grad is not None for p in base.parameters())

    def test_generates_with_a_cache(self, case: MethodCase) -> None:
        """Token by token over a cache, with padding on the left, gives the logits of one full forward pass."""
        if not _writes_text(case):
            pytest.skip("an encoder does not generate")
        (ids, mask), start = batch(padding=2), 5
        with _attached(case, _base(case.model)) as model:
            disturb(model)
            wanted = _logits(model, ids, mask)[:, start - 1 :]
            virtual = mask.new_ones(len(mask), model.method.virtual_tokens())
            with model.evaluating():
                output = model(ids[:, :start], mask[:, :start], use_cache=True, logits_to_keep=1)
                steps = [output.logits]
                for end in range(start + 1, ids.shape[1] + 1):
                    seen = torch.cat([virtual, mask[:, :end]], 1)
                    output = model(ids[:, end - 1 : end], seen, past_key_values=output.past_key_values, use_cache=True)
                    steps.append(output.logits)
        assert _relative(torch.cat(steps, 1), wanted) <= 10 * EXACT

    def test_rows_and_later_tokens_do_not_interfere(self, case: MethodCase) -> None:
        """A token's output depends neither on later tokens nor on the other rows of the batch."""
        if not _writes_text(case):
            pytest.skip("an encoder reads all tokens")
        ids, mask = batch()
        changed = ids.clone()
        changed[0, 5:] = (changed[0, 5:] + 1) % 256
        changed[1] = (changed[1] + 1) % 256
        with _attached(case, _base(case.model)) as model:
            disturb(model)
            first, second = _logits(model, ids, mask), _logits(model, changed, mask)
        assert _relative(second[0, :5], first[0, :5]) <= EXACT
        assert _relative(second[0, 5:], first[0, 5:]) > NEAR

    def test_keeps_fp32_on_a_bf16_base(self, case: MethodCase) -> None:
        """On a base in bf16 the adapter's parameters are fp32, the output is bf16, and training gives numbers."""
        base = _base(case.model, torch.bfloat16)
        with _attached(case, base) as model:
            losses = _train(model, case, 2)
            assert {p.dtype for p in model.trainable().values()} == {torch.float32}
            assert _logits(model, *batch()).dtype == torch.bfloat16
        assert all(loss == loss for loss in losses)
        assert adapter_dtype(base) == torch.float32

    def test_bf16_agrees_with_fp32(self, case: MethodCase) -> None:
        """The same adapter on the base in bf16 and in fp32 gives outputs that differ as those of the base alone do."""
        exact, rounded = (_base(case.model, dtype) for dtype in (torch.float32, torch.bfloat16))
        ids, mask = batch()
        with _attached(case, exact) as model:
            disturb(model)
            wanted = _logits(model, ids, mask)
            state = {name: tensor.clone() for name, tensor in storing.adapter_state(model).items()}
        with _attached(case, rounded) as model:
            storing.restore(model, state)
            given = _logits(model, ids, mask)
        with torch.no_grad():
            alone = [base(input_ids=ids, attention_mask=mask).logits for base in (rounded, exact)]
        assert _relative(given, wanted) <= BF16 + 3 * _relative(*alone)


# --------------------------------------------------------------------------------------------------------------- helpers


@cache
def _base(name: str, dtype: torch.dtype = torch.float32) -> nn.Module:
    return load(ModelRef(id=name), torch.device("cpu")).model.to(dtype)


@cache
def _meta(name: str) -> nn.Module:
    return meta_model(ModelRef(id=name))


@contextmanager
def _attached(case: MethodCase, base: nn.Module, init_seed: int = 1) -> Iterator[AdaptedModel]:
    with attached(base, case.kind, case.targets, capacity=case.capacity, settings=case.settings, init_seed=init_seed) as model:
        model.head.take(model.pristine.parameters)  # a fresh head would hide what the method does
        yield model


def _writes_text(case: MethodCase) -> bool:
    return bool(getattr(_base(case.model), "can_generate", lambda: False)())


def _logits(model: AdaptedModel, ids: Tensor, mask: Tensor) -> Tensor:
    with model.evaluating():
        logits: Tensor = model(ids, mask).logits
    return logits


def _loss(model: AdaptedModel, ids: Tensor, mask: Tensor) -> Tensor:
    return loss_of(model(ids, mask).logits.float(), ids)


def _train(model: AdaptedModel, case: MethodCase, steps: int) -> list[float]:
    """Take AdamW steps on one batch, as the training loop does; return the loss before each step and after the last."""
    optimizer = torch.optim.AdamW(model.trainable().values(), lr=case.learning_rate, weight_decay=0.0)
    losses = []
    for step in range(steps):
        model.before_step(step, steps)
        loss = _loss(model, *batch())
        losses.append(float(loss.detach()))
        penalty = model.penalty()
        (loss if penalty is None else loss + penalty).backward()
        optimizer.step()
        model.method.after_step(step, steps)
        optimizer.zero_grad()
    with model.evaluating():
        return [*losses, float(_loss(model, *batch()))]


def _relative(given: Tensor, wanted: Tensor) -> float:
    return float((given.double() - wanted.double()).norm() / wanted.double().norm())


def _initial(case: MethodCase, base: nn.Module, seed: int) -> dict[str, Tensor]:
    with _attached(case, base, init_seed=seed) as model:
        return {name: p.detach().clone() for name, p in model.trainable().items()}


def _structure(base: nn.Module) -> Any:
    hooks: Callable[[nn.Module], int] = lambda m: len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks)  # noqa: E731
    config: Any = base.config
    modules = [(name, type(m), hooks(m), m.training, sorted(vars(m))) for name, m in base.named_modules()]
    return modules, list(base.state_dict()), config.to_dict()


def _document(case: MethodCase) -> dict[str, Any]:
    method = {"name": case.kind.card.name, "version": "-", "capacity": dict(case.capacity), "settings": dict(case.settings)}
    return {"model": {"id": case.model}, "method": method, "targets": list(case.targets), "init_seed": 1}
