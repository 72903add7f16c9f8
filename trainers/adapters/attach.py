"""Attaches a method to a resident base model and takes it off again.

Shapes: B batch, T tokens, n virtual tokens, i in_features, o out_features, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from trainers.adapters.adaptation import Adaptation, AdapterDropout, SharedCast
from trainers.adapters.choices import checked_settings
from trainers.adapters.copies import ParameterCopies, extra_parameters, in_head
from trainers.adapters.heads import fresh_head, size_head
from trainers.adapters.method import Method
from trainers.adapters.partition import call_with, gathered
from trainers.adapters.sites import Site, find_sites, roles_of
from trainers.adapters.snapshot import Snapshot


def _nothing() -> None:
    pass


RunBase = Callable[["AdaptedModel", dict[str, Any]], Any]
"""Runs the base of an adapted model, whose method is prepared, on keyword arguments; returns an output with `logits`."""


def run_alone(model: AdaptedModel, inputs: dict[str, Any]) -> Any:
    """Run the base with the tensors that stand in for its parameters."""
    return call_with(model.base, model.replaced, inputs)


class AdaptedModel(nn.Module):
    """A base model with one method attached: what the engine trains and evaluation calls.

    Attributes:
        base: the frozen base model.
        method: the attached method.
        extras: trainable copies of norms or biases, where the sweep trains them.
        head: copies of the classification head, freshly initialised; empty for a base without one.
        present_names: the names, while the method is attached, of the extras' and the head's parameters, by those in the bare base.
        pristine: the base's structure without the method.
        num_labels: outputs that the head was given; None where it is as it was loaded.
        before_pass: called before each forward pass of an evaluation.
        run_base: runs the base; a lane of a pack runs it together with other lanes.
        back_through_base: called after each backward pass of a loss: a lane's ended at the base's outputs, and goes on from there.
        aside: gives the `with` block for work on files, during which other lanes of a pack compute.
        adaptations: what the method does at modules of the base, as far as it was attached by `Method.install`'s `adapt`.
        replaced: the tensors that stand in for the base's parameters in the present pass, by their present names.
        place: optimiser steps begun, and forward passes since then.
    """

    def __init__(
        self,
        base: nn.Module,
        method: Method,
        extras: ParameterCopies,
        head: ParameterCopies,
        dropout: AdapterDropout,
        pristine: Snapshot,
        num_labels: int | None = None,
    ) -> None:
        super().__init__()
        # The method comes first: a parameter that it shares with layers inside the base is then named after the method.
        self.method, self.extras, self.head, self.dropout, self.base = method, extras, head, dropout, base
        self.pristine, self.num_labels = pristine, num_labels
        self._cast = SharedCast(adapter_dtype(base))
        self.present_names = _present_names(base, pristine, (*extras.names, *head.names, *head.frozen))
        self._is_decoder = bool(getattr(base, "can_generate", lambda: False)())
        self._held = False
        self.before_pass: Callable[[], None] = _nothing
        self.run_base: RunBase = run_alone
        self.back_through_base: Callable[[], None] = _nothing
        self.aside: Callable[[], AbstractContextManager[None]] = nullcontext
        self.adaptations: dict[nn.Module, list[Adaptation]] = {}
        self.replaced: dict[str, Tensor] = {}
        self.place = (0, 0)
        if not method.drops_input:
            object.__setattr__(method, "drop", dropout)
        method.install(base, self._adapt)
        self._trainable = {name: p for name, p in self.named_parameters() if p.requires_grad}

    def _adapt(self, module: nn.Module, site: Site) -> None:
        dropout = self.dropout if self.method.drops_input and self.dropout.probability else None
        acts = Adaptation.of(self.method, site, self._cast, dropout)
        enter, transform = acts.enter, acts.transform
        if enter is not None:
            module.register_forward_pre_hook(lambda _, inputs: (enter(inputs[0]), *inputs[1:]))
        if transform is not None:
            module.register_forward_hook(lambda _, inputs, y_BTo: transform(inputs[0], y_BTo))
        self.adaptations.setdefault(module, []).append(acts)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **options: Any) -> Any:
        """Run the adapted base.

        Args:
            input_ids: (B, T) tokens; padding on the left.
            attention_mask: (B, T), or (B, n + past + T) when a filled `past_key_values` continues a sequence.
            options: passed to the base: `past_key_values`, `use_cache`, `logits_to_keep`.

        Returns:
            The base's output; `logits` (B, T or fewer, V) cover text tokens only.
        """
        self.place = (self.place[0], self.place[1] + 1)
        if self._held:
            self.before_pass()
        else:
            self._prepare()
        inputs = self._inputs(input_ids, attention_mask, options)
        try:
            return self.run_base(self, inputs)
        finally:
            self.let_go()

    def let_go(self) -> None:
        """Let go of what matrices that read one tensor have shared, after layers of the base ran."""
        self._cast.clear()
        self.method.release()

    def _prepare(self) -> None:
        self.method.prepare()
        self.replaced = self.method.replaced()
        for name, copy in (self.extras.cast() | self.head.cast()).items():
            self.replaced[self.present_names[name]] = copy

    def again(self) -> None:
        """Prepare the method for a repetition of the present pass."""
        self.let_go()
        if not self._held:
            self._prepare()

    def _inputs(self, input_ids: Tensor, attention_mask: Tensor, options: Mapping[str, Any]) -> dict[str, Any]:
        count, past = self.method.virtual_tokens(), options.get("past_key_values")
        starts = past is None or past.get_seq_length() == 0
        if count and starts:
            attention_mask = torch.cat([attention_mask.new_ones(len(attention_mask), count), attention_mask], 1)
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask, **options}
        if self._is_decoder:
            inputs["position_ids"] = (attention_mask.cumsum(-1) - 1).clamp(min=0)[:, -input_ids.shape[1] :]
        return self.method.with_virtual_tokens(self.base, inputs) if count and starts else inputs

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """Hold one contraction of the shared factors over many forward passes, without gradients or dropout."""
        self.eval()
        try:
            with torch.no_grad():
                self._prepare()
                self._held = True
                yield
        finally:
            self._held, self.replaced = False, {}
            self.train()

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return the trainable parameters by name, each once; those that a step leaves out are among them."""
        return dict(self._trainable)

    def before_step(self, step: int, steps: int) -> None:
        """Let the method act before optimiser step `step` (from 0) of `steps`."""
        self.place = (step + 1, 0)
        self.method.before_step(step, steps)
        if self.head.names:
            self.head.requires_grad_(self.method.trains_head(step, steps))

    def penalty(self) -> Tensor | None:
        """Return the method's own regulariser."""
        return self.method.penalty()


@contextmanager
def attached(
    base: nn.Module,
    method_type: type[Method],
    targets: Sequence[str],
    *,
    capacity: Mapping[str, Any],
    settings: Mapping[str, Any],
    scale: float = 1.0,
    dropout: float = 0.0,
    also_train: Sequence[str] = (),
    init_seed: int = 0,
    dropout_seed: int = 0,
    num_labels: int | None = None,
) -> Iterator[AdaptedModel]:
    """Attach a method to a base for the length of a `with` block; afterwards the base is as it was.

    A classification head starts afresh, from a seed of its own that `init_seed` gives: the same for every method.

    Args:
        base: a frozen transformers model; on the meta device for counting.
        method_type: the method's class.
        targets: roles of the adapted matrices; empty takes the method's default.
        num_labels: outputs of the classification head; None leaves it as it is.

    Raises:
        CapacityError: a capacity that the matrices do not admit.
        NotApplicableError: a method whose definition does not cover this base.
        UnknownNameError: a role, capacity key or setting that does not exist.
    """
    loaded = Snapshot(base)
    counting = is_meta(base)
    try:
        base.requires_grad_(False)
        pristine = loaded
        if num_labels is not None:
            size_head(base, num_labels)
            pristine = Snapshot(base)
        generator = None if counting else torch.Generator().manual_seed(init_seed)
        roles = method_type.roles(targets, checked_settings(method_type.card, settings), roles_of(base))
        extra_names = extra_parameters(base, also_train)
        with nullcontext() if method_type.card.base_weights == "run" else gathered(base):
            method = method_type(base, find_sites(base, roles), capacity, settings, scale, generator, dropout)
        own = pristine.parameters
        extras = ParameterCopies(own, method.extra_names(extra_names))
        head_names = [name for name in own if in_head(name)]
        head = ParameterCopies(own, method.head_names(head_names), method.frozen_head_names(head_names))
        device = next(base.parameters()).device
        if not counting:
            extras.take(own)
            head.take(fresh_head(own, getattr(base.config, "initializer_range", 0.02), init_seed))
            method.to(device, adapter_dtype(base))
        drop = AdapterDropout(dropout, torch.Generator("cpu" if counting else device).manual_seed(dropout_seed))
        yield AdaptedModel(base, method, extras, head, drop, pristine, num_labels).train()
    finally:
        loaded.restore()


def adapter_dtype(base: nn.Module) -> torch.dtype:
    """Return the type of an adapter's parameters and arithmetic: fp32, or fp64 on a base in fp64 (tests)."""
    return torch.float64 if next(base.parameters()).dtype == torch.float64 else torch.float32


def is_meta(base: nn.Module) -> bool:
    """Tell whether the model has shapes only."""
    return next(base.parameters()).device.type == "meta"


def _present_names(base: nn.Module, pristine: Snapshot, names: Sequence[str]) -> dict[str, str]:
    """Map parameter names of the bare base to those they have while layers of a method wrap its own."""
    present = {id(parameter): name for name, parameter in base.named_parameters()}
    return {name: present[id(pristine.parameters[name])] for name in names}
