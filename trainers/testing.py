"""Conformance tests that every method and task must pass, a third party's too.

A package subclasses the suites in its own tests:

    class TestMyMethod(MethodSuite):
        method = "my-method"
        capacity = {"rank": 2}

    class TestMyTask(TaskSuite):
        task = "my-task"
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from search_spaces.errors import DataError, NotApplicableError
from search_spaces.trial import ModelRef
from trainers import registry
from trainers.adapters import storing
from trainers.adapters.attach import AdaptedModel, adapter_dtype, attached
from trainers.adapters.merging import merged
from trainers.adapters.method import Method
from trainers.adapters.snapshot import fingerprint
from trainers.api import Example, Task
from trainers.counting import count, measured
from trainers.models import load, meta_model

EXACT, NEAR = 2e-6, 0.05
"""Largest relative difference between outputs that are equal up to rounding in fp32, and of a start that is `near` the base's."""


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
        base, (ids, mask) = _base(case.model), _batch()
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
            _loss(model, *_batch()).backward()
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
        base, (ids, mask) = _base(case.model), _batch()
        with _attached(case, base) as model:
            _disturb(model)
            wanted = _logits(model, ids, mask)
            size = storing.save(model, tmp_path / "adapter", _document(case))
        state, document = storing.load(tmp_path / "adapter")
        with _attached(case, base, init_seed=document.init_seed) as model:
            storing.restore(model, state)
            assert _relative(_logits(model, ids, mask), wanted) <= EXACT
        assert size == (tmp_path / "adapter" / storing.TENSORS).stat().st_size

    def test_merged_equals_attached(self, case: MethodCase) -> None:
        """The base with the adapter folded in gives the adapted output; a method that cannot be merged says so."""
        base, (ids, mask) = _base(case.model), _batch()
        with _attached(case, base) as model:
            _disturb(model)
            wanted = _logits(model, ids, mask)
            if not case.kind.card.mergeable:
                with pytest.raises(NotApplicableError), merged(model):
                    pass
                return
            with merged(model) as whole, torch.no_grad():
                given = whole(input_ids=ids, attention_mask=mask).logits
            assert _relative(given, wanted) <= 10 * EXACT
            assert _relative(_logits(model, ids, mask), wanted) == 0, "the adapter is not attached as before"

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
        (ids, mask), start = _batch(padding=2), 5
        with _attached(case, _base(case.model)) as model:
            _disturb(model)
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
        ids, mask = _batch()
        changed = ids.clone()
        changed[0, 5:] = (changed[0, 5:] + 1) % 256
        changed[1] = (changed[1] + 1) % 256
        with _attached(case, _base(case.model)) as model:
            _disturb(model)
            first, second = _logits(model, ids, mask), _logits(model, changed, mask)
        assert _relative(second[0, :5], first[0, :5]) <= EXACT
        assert _relative(second[0, 5:], first[0, 5:]) > NEAR

    def test_keeps_fp32_on_a_bf16_base(self, case: MethodCase) -> None:
        """On a base in bf16 the adapter's parameters are fp32, the output is bf16, and training gives numbers."""
        base = _base(case.model, torch.bfloat16)
        with _attached(case, base) as model:
            losses = _train(model, case, 2)
            assert {p.dtype for p in model.trainable().values()} == {torch.float32}
            assert _logits(model, *_batch()).dtype == torch.bfloat16
        assert all(loss == loss for loss in losses)
        assert adapter_dtype(base) == torch.float32


class TaskSuite:
    """Tests of one task; set `task`, and override `perfect` where the training target is not a perfect answer."""

    task: ClassVar[str]
    rows: ClassVar[int] = 24

    @pytest.fixture
    def subject(self) -> Task:
        """The task under test."""
        return registry.task(self.task)

    def perfect(self, example: Example) -> Any:
        """Return a prediction that deserves the full score: the training target, or the option it belongs to."""
        if example.options is None or example.answers is None:
            return example.target.strip()
        return example.answers[example.options.index(example.prompt + example.target)]

    def test_card_is_complete(self, subject: Task) -> None:
        """The card names the task, its source, revision, licence, citation and metrics."""
        card = subject.card
        assert card.main in card.metrics
        assert all((card.title, card.hub.path, card.license, card.citation, card.fields))
        assert re.fullmatch(r"[0-9a-f]{7,40}", card.hub.revision), "the hub's revision must be a commit"

    def test_embedded_rows_become_examples(self, subject: Task) -> None:
        """Every embedded row has all fields and renders; ids are unique."""
        for split in ("train", "test"):
            rows = subject.embedded(split, self.rows, 0)
            examples = [subject.example(row) for row in rows]
            assert len(rows) == self.rows
            assert all(field in row for row in rows for field in subject.card.fields)
            assert all(example.prompt.strip() and example.target.strip() for example in examples)
            assert len({example.id for example in examples}) == len(examples)

    def test_embedded_rows_are_deterministic(self, subject: Task) -> None:
        """The same seed gives the same rows, another seed others."""
        assert subject.embedded("train", self.rows, 5) == subject.embedded("train", self.rows, 5)
        assert subject.embedded("train", self.rows, 5) != subject.embedded("train", self.rows, 6)

    def test_embedded_splits_share_no_passage(self, subject: Task) -> None:
        """No passage stands in both splits."""
        train, test = ({e.group for e in self._examples(subject, split)} for split in ("train", "test"))
        assert not train & test

    def test_target_follows_the_prompt(self, subject: Task) -> None:
        """A generated target begins with a space and ends a line; with options, prompt and target make one of them."""
        for example in self._examples(subject, "train"):
            if subject.card.form == "generate":
                assert example.options is None
                assert example.target.startswith(" ") and example.target.endswith("\n")
            else:
                assert example.options is not None and example.answers is not None
                assert len(example.options) == len(example.answers)
                assert example.prompt + example.target in example.options

    def test_perfect_predictions_score_one(self, subject: Task) -> None:
        """Perfect predictions score 1.0 on the main metric, wrong ones less."""
        examples = self._examples(subject, "test")
        references = [example.references for example in examples]
        best = subject.score([self.perfect(example) for example in examples], references)
        worst = subject.score(["zzz unlikely"] * len(examples), references)
        assert best.metrics[subject.card.main] == pytest.approx(1.0)
        assert worst.metrics[subject.card.main] < 0.5
        assert set(best.metrics) == set(subject.card.metrics)

    def test_unequal_lengths_are_refused(self, subject: Task) -> None:
        """Predictions and references that differ in number are an error, not a score."""
        examples = self._examples(subject, "test")
        with pytest.raises(DataError):
            subject.score([], [example.references for example in examples])

    def test_missing_fields_are_named(self, subject: Task) -> None:
        """A row without a field is refused; the message names the field."""
        row = subject.embedded("train", 1, 0)[0]
        for name in subject.card.fields:
            with pytest.raises(DataError, match=re.escape(name)):
                subject.example({key: value for key, value in row.items() if key != name})

    def _examples(self, subject: Task, split: Any) -> list[Example]:
        return [subject.example(row) for row in subject.embedded(split, self.rows, 0)]


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
        yield model


def _batch(rows: int = 2, tokens: int = 9, padding: int = 0) -> tuple[Tensor, Tensor]:
    ids = torch.randint(0, 256, (rows, tokens), generator=torch.Generator().manual_seed(0))
    mask = torch.ones_like(ids)
    mask[0, :padding] = 0
    return ids, mask


def _logits(model: AdaptedModel, ids: Tensor, mask: Tensor) -> Tensor:
    with model.evaluating():
        logits: Tensor = model(ids, mask).logits
    return logits


def _loss(model: AdaptedModel, ids: Tensor, mask: Tensor) -> Tensor:
    logits = model(ids, mask).logits.float()
    return nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), ids[:, 1:].flatten())


def _train(model: AdaptedModel, case: MethodCase, steps: int) -> list[float]:
    """Take AdamW steps on one batch, as the training loop does; return the loss before each step and after the last."""
    optimizer = torch.optim.AdamW(model.trainable().values(), lr=case.learning_rate, weight_decay=0.0)
    losses = []
    for step in range(steps):
        model.method.before_step(step, steps)
        loss = _loss(model, *_batch())
        losses.append(float(loss.detach()))
        penalty = model.penalty()
        (loss if penalty is None else loss + penalty).backward()
        optimizer.step()
        optimizer.zero_grad()
        model.method.after_step(step, steps)
    with model.evaluating():
        return [*losses, float(_loss(model, *_batch()))]


def _disturb(model: AdaptedModel) -> None:
    """Move every trainable parameter, as training would."""
    generator = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.trainable().values():
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=0.05)


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


__all__ = ["MethodCase", "MethodSuite", "TaskSuite"]
