"""Conformance tests of methods."""

from __future__ import annotations

import fnmatch
import gc
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import peft
import pytest
import torch

from search_spaces.errors import NotApplicableError
from search_spaces.trial import ModelRef
from trainers.adapters import export, storing
from trainers.adapters.attach import adapter_dtype
from trainers.adapters.merging import merged
from trainers.adapters.method import Method
from trainers.adapters.recomputation import recompute_layers
from trainers.adapters.snapshot import fingerprint
from trainers.api import group_refusal
from trainers.counting import count, measured
from trainers.models import load
from trainers.registry import optimizer_type
from trainers.testing.cases import (
    MethodCase,
    attached_case,
    document,
    initial,
    logits_of,
    loss_on,
    partitioned,
    relative,
    resident,
    shapes_of,
    structure,
    train,
    writes_text,
)
from trainers.testing.oracle import batch, disturb
from trainers.testing.packs import PackedTrial, alone, together

EXACT, NEAR, BF16 = 2e-6, 0.05, 0.03
"""Largest relative difference between outputs: equal up to rounding in fp32, of a start that is `near` the base's, and of a base
in bf16, beyond what its own rounding explains."""
PACKED, PACKED_STEPS = 1e-6, 3
"""Largest relative difference between a step in a pack and the same step alone, and how many are compared."""


class EncoderMethodSuite:
    """Tests of one method on an encoder; set the class attributes, or override the fixture `case` to run it over several."""

    model: ClassVar[str] = "micro-bert"

    method: ClassVar[str | type[Method]]
    capacity: ClassVar[Mapping[str, Any]] = {}
    settings: ClassVar[Mapping[str, Any]] = {}
    targets: ClassVar[Sequence[str]] = ("q", "v")
    formula: ClassVar[int | None] = None

    @pytest.fixture
    def case(self) -> MethodCase:
        """The method under test."""
        return MethodCase(self.method, self.capacity, self.settings, self.targets, self.model, self.formula)

    def test_starts_as_declared(self, case: MethodCase) -> None:
        """The output before the first step is the base's, near it, or another one, as the card says."""
        base, (ids, mask) = resident(case.model), batch()
        with torch.no_grad():
            before = base(input_ids=ids, attention_mask=mask).logits
        with attached_case(case, base) as model:
            difference = relative(logits_of(model, ids, mask), before)
        declared = case.kind.card.starts_as
        assert difference <= {"identity": EXACT, "near": NEAR, "other": float("inf")}[declared], f"{difference} is not {declared}"
        if declared == "other":
            assert difference > NEAR, "the card says `other`, the output is near the base's"

    def test_first_step_trains_what_is_declared(self, case: MethodCase) -> None:
        """Of the parameters that the first step trains, exactly those that the method names have a gradient."""
        with attached_case(case, resident(case.model)) as model:
            assert model.trainable(), "the method trains nothing"
            model.before_step(0, case.steps)
            loss_on(model, *batch()).backward()
            trained = {name: p for name, p in model.method.named_parameters() if p.requires_grad}
            patterns = model.method.trains_at_start()
        moved = {name for name, p in trained.items() if p.grad is not None and bool(p.grad.any())}
        assert moved == {name for name in trained if any(fnmatch.fnmatch(name, pattern) for pattern in patterns)}

    def test_adds_to_the_loss_as_declared(self, case: MethodCase) -> None:
        """There is a regulariser in the first step if the card says so, and none otherwise."""
        with attached_case(case, resident(case.model)) as model:
            model.before_step(0, case.steps)
            assert (model.penalty() is not None) == case.kind.card.penalised

    def test_counts_agree(self, case: MethodCase) -> None:
        """The count from shapes alone equals that of the built adapter, and the published formula where one is given."""
        with attached_case(case, resident(case.model)) as model:
            built = measured(model)
            trainable = sum(p.numel() for p in model.trainable().values())
        counted = count(shapes_of(case.model), case.kind, case.targets, case.capacity, case.settings)
        assert counted == built
        assert counted.counts.trainable == trainable
        assert case.formula in (None, counted.counts.peak)

    def test_initialisation_follows_its_seed(self, case: MethodCase) -> None:
        """One seed gives one adapter; another seed another one, unless nothing is drawn. No other random stream is disturbed."""
        base = resident(case.model)
        state = torch.random.get_rng_state()
        first, again = (initial(case, base, seed) for seed in (3, 3))
        assert torch.equal(state, torch.random.get_rng_state())
        assert all(torch.equal(first[name], again[name]) for name in first)
        outputs = []
        for seed in (3, 4):
            with attached_case(case, base, seed) as model:
                disturb(model)
                outputs.append(logits_of(model, *batch()))
        assert torch.equal(*outputs) != case.kind.card.draws

    def test_reads_scale_as_declared(self, case: MethodCase) -> None:
        """A larger scale changes the output exactly where the card says that the method reads it."""
        base, outputs = resident(case.model), []
        for scale in (1.0, 3.0):
            with attached_case(case, base, scale=scale) as model:
                disturb(model)
                outputs.append(logits_of(model, *batch()))
        assert torch.equal(*outputs) != ("scale" in case.kind.card.reads)

    def test_reads_dropout_as_declared(self, case: MethodCase) -> None:
        """Dropout changes the output in training exactly where the card says that the method reads it."""
        base, outputs = resident(case.model), []
        for dropout in (0.0, 0.5):
            torch.manual_seed(0)  # for what a library draws from the global stream
            with attached_case(case, base, dropout=dropout) as model, torch.no_grad():
                disturb(model)
                outputs.append(model(*batch()).logits)
        assert torch.equal(*outputs) != ("dropout" in case.kind.card.reads)

    def test_lets_go_of_its_inputs(self, case: MethodCase) -> None:
        """After the backward pass nothing holds the inputs of the adapted matrices."""
        base, seen = resident(case.model), []
        with attached_case(case, base) as model:
            for site in model.method.sites:
                base.get_submodule(site.path).register_forward_pre_hook(lambda _, inputs: seen.append(weakref.ref(inputs[0])))
            loss_on(model, *batch()).backward()
            gc.collect()
            assert all(reference() is None for reference in seen)

    def test_stores_and_restores(self, case: MethodCase, tmp_path: Path) -> None:
        """An adapter that was stored and restored gives the same output."""
        base, (ids, mask) = resident(case.model), batch()
        with attached_case(case, base) as model:
            disturb(model)
            wanted = logits_of(model, ids, mask)
            size = storing.save(model, tmp_path / "adapter", document(case))
        state, stored = storing.load(tmp_path / "adapter")
        with attached_case(case, base, init_seed=stored.init_seed) as model:
            storing.restore(model, state)
            assert relative(logits_of(model, ids, mask), wanted) <= EXACT
        assert size == (tmp_path / "adapter" / storing.TENSORS).stat().st_size

    def test_merged_equals_attached(self, case: MethodCase) -> None:
        """The base with the adapter folded in gives the adapted output; a method that cannot be merged says so."""
        base, (ids, mask) = resident(case.model), batch()
        with attached_case(case, base) as model:
            disturb(model)
            wanted = logits_of(model, ids, mask)
            if model.method.unmergeable() is not None:
                with pytest.raises(NotApplicableError), merged(model):
                    pass
                return
            with merged(model) as whole, torch.no_grad():
                given = whole(input_ids=ids, attention_mask=mask).logits
            assert relative(given, wanted) <= 10 * EXACT
            assert relative(logits_of(model, ids, mask), wanted) == 0, "the adapter is not attached as before"

    def test_exported_lora_is_the_adapter(self, case: MethodCase, tmp_path: Path) -> None:
        """HF PEFT loads the exported LoRA on a base of its own and gives the adapted output; other methods say why they have none."""
        base, (ids, mask) = resident(case.model), batch()
        with attached_case(case, base) as model:
            disturb(model)
            if not case.kind.card.exports_lora:
                with pytest.raises(NotApplicableError):
                    export.write(model, "lora", tmp_path / "lora", case.model, None)
                return
            wanted = logits_of(model, ids, mask)
            export.write(model, "lora", tmp_path / "lora", case.model, None)
        theirs = peft.PeftModel.from_pretrained(load(ModelRef(id=case.model), torch.device("cpu")).model, str(tmp_path / "lora")).eval()
        with torch.no_grad():
            assert relative(theirs(input_ids=ids, attention_mask=mask).logits, wanted) <= 10 * EXACT

    def test_loss_falls(self, case: MethodCase) -> None:
        """Training on one batch lowers its loss."""
        with attached_case(case, resident(case.model)) as model:
            losses = train(model, case, case.steps)
        assert losses[-1] < losses[0]

    def test_recomputed_layers_change_nothing(self, case: MethodCase) -> None:
        """With gradient checkpointing, loss, gradients and the dropout that comes next are those of the plain pass."""
        base, found = resident(case.model), []
        for recomputed in (False, True):
            torch.manual_seed(0)  # for what a library draws from the global stream
            with attached_case(case, base, dropout=0.5) as model:
                if recomputed:
                    recompute_layers(model)
                disturb(model)
                model.before_step(0, case.steps)
                loss = loss_on(model, *batch())
                loss.backward()
                gradients = {name: p.grad.clone() for name, p in model.trainable().items() if p.grad is not None}
                found.append({**gradients, "": loss.detach(), "next": model.dropout.generator.get_state()})
        plain, again = found
        assert plain.keys() == again.keys()
        assert [name for name, value in plain.items() if not torch.equal(value, again[name])] == []

    def test_packs_as_declared(self, case: MethodCase) -> None:
        """If the card says `packable`, two trials that share their passes compute what each computes alone, from the same parameters."""
        if not case.kind.card.packable:
            pytest.skip("the card does not say that it can be packed")
        base, trials = resident(case.model), [PackedTrial(case, seed=1), PackedTrial(case, seed=2)]
        apart = [alone(base, trial, PACKED_STEPS) for trial in trials]
        packed, rows = together(base, trials, PACKED_STEPS, [trace.parameters for trace in apart])
        assert rows == [4] * PACKED_STEPS, "the passes are not shared"
        for mine, theirs in zip(packed, apart, strict=True):
            mine.assert_like(theirs, PACKED)

    def test_leaves_the_base_alone(self, case: MethodCase) -> None:
        """After training, the base has the same bits, modules, hooks and flags as before."""
        base = resident(case.model)
        bits, before = fingerprint(base), structure(base)
        with attached_case(case, base) as model:
            train(model, case, 2)
        assert fingerprint(base) == bits
        assert structure(base) == before
        assert not any(p.requires_grad or p.grad is not None for p in base.parameters())

    def test_declares_that_it_freezes(self, case: MethodCase) -> None:
        """A method that leaves parameters out of some steps says so in its card: workers that divide them up must know."""
        frozen = False
        with attached_case(case, resident(case.model)) as model:
            for step in range(case.steps):
                model.before_step(step, case.steps)
                frozen = frozen or not all(p.requires_grad for p in model.trainable().values())
        assert case.kind.card.freezes or not frozen

    def test_trains_on_a_partitioned_base(self, case: MethodCase) -> None:
        """On a base that ZeRO-3 has partitioned, training goes as on a whole one, unless the card says that it cannot."""
        if reason := group_refusal(case.kind.card, optimizer_type("adamw").card, 1, 3):
            pytest.skip(reason)
        with attached_case(case, resident(case.model)) as model:
            expected = train(model, case, 2)
        with partitioned(case.model) as base, attached_case(case, base) as model:
            assert train(model, case, 2) == pytest.approx(expected, rel=1e-5)

    def test_padding_is_not_read(self, case: MethodCase) -> None:
        """A text has the same output beside a longer one, padded, as alone: on the left in language models, on the right in encoders."""
        ids, mask = batch()
        causal, pads = writes_text(case), 3
        with attached_case(case, resident(case.model)) as model:
            disturb(model)
            part = slice(pads, None) if causal else slice(None, -pads)
            alone = logits_of(model, ids[:1, part], mask[:1, part])
            mask[0, slice(None, pads) if causal else slice(-pads, None)] = 0
            padded = logits_of(model, ids, mask)[:1]
        assert relative(padded[:, pads:] if causal else padded, alone) <= 10 * EXACT

    def test_keeps_fp32_on_a_bf16_base(self, case: MethodCase) -> None:
        """On a base in bf16 the adapter's parameters are fp32, the output is bf16, and training gives numbers."""
        base = resident(case.model, torch.bfloat16)
        with attached_case(case, base) as model:
            losses = train(model, case, 2)
            assert {p.dtype for p in model.trainable().values()} == {torch.float32}
            assert logits_of(model, *batch()).dtype == torch.bfloat16
        assert all(loss == loss for loss in losses)
        assert adapter_dtype(base) == torch.float32

    def test_bf16_agrees_with_fp32(self, case: MethodCase) -> None:
        """The same adapter on the base in bf16 and in fp32 gives outputs that differ as those of the base alone do."""
        exact, rounded = (resident(case.model, dtype) for dtype in (torch.float32, torch.bfloat16))
        ids, mask = batch()
        with attached_case(case, exact) as model:
            disturb(model)
            wanted = logits_of(model, ids, mask)
            state = {name: tensor.clone() for name, tensor in storing.adapter_state(model).items()}
        with attached_case(case, rounded) as model:
            storing.restore(model, state)
            given = logits_of(model, ids, mask)
        with torch.no_grad():
            alone = [base(input_ids=ids, attention_mask=mask).logits for base in (rounded, exact)]
        assert relative(given, wanted) <= BF16 + 3 * relative(*alone)


class MethodSuite(EncoderMethodSuite):
    """Tests of one method on a causal language model: the same, and what only a model that writes can show."""

    model: ClassVar[str] = "micro-llama"

    def test_generates_with_a_cache(self, case: MethodCase) -> None:
        """Token by token over a cache, with padding on the left, gives the logits of one full forward pass."""
        (ids, mask), start = batch(padding=2), 5
        with attached_case(case, resident(case.model)) as model:
            disturb(model)
            wanted = logits_of(model, ids, mask)[:, start - 1 :]
            virtual = mask.new_ones(len(mask), model.method.virtual_tokens())
            with model.evaluating():
                output = model(ids[:, :start], mask[:, :start], use_cache=True, logits_to_keep=1)
                steps = [output.logits]
                for end in range(start + 1, ids.shape[1] + 1):
                    seen = torch.cat([virtual, mask[:, :end]], 1)
                    output = model(ids[:, end - 1 : end], seen, past_key_values=output.past_key_values, use_cache=True)
                    steps.append(output.logits)
        assert relative(torch.cat(steps, 1), wanted) <= 10 * EXACT

    def test_rows_and_later_tokens_do_not_interfere(self, case: MethodCase) -> None:
        """A token's output depends neither on later tokens nor on the other rows of the batch."""
        ids, mask = batch()
        changed = ids.clone()
        changed[0, 5:] = (changed[0, 5:] + 1) % 256
        changed[1] = (changed[1] + 1) % 256
        with attached_case(case, resident(case.model)) as model:
            disturb(model)
            first, second = logits_of(model, ids, mask), logits_of(model, changed, mask)
        assert relative(second[0, :5], first[0, :5]) <= EXACT
        assert relative(second[0, 5:], first[0, 5:]) > NEAR
