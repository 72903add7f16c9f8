"""Attaches a method to a resident base model and takes it off again.

Shapes: B batch, T tokens, n virtual tokens, i in_features, o out_features, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from trainers.adapters.choices import checked_settings
from trainers.adapters.copies import ParameterCopies, extra_parameters, in_head
from trainers.adapters.heads import fresh_head, size_head
from trainers.adapters.method import Method
from trainers.adapters.partition import call_with, gathered
from trainers.adapters.sites import Site, find_sites, roles_of
from trainers.adapters.snapshot import Snapshot


def _nothing() -> None:
    pass


class AdapterDropout(nn.Module):
    """Dropout on an adapter's input, drawn from its own generator, so that it never disturbs another random stream."""

    def __init__(self, probability: float, generator: torch.Generator) -> None:
        super().__init__()
        self.probability = probability
        self.generator = generator

    def forward(self, x: Tensor) -> Tensor:
        """Return `x` with elements zeroed and the rest scaled up, in training; `x` itself in evaluation."""
        if not self.training or self.probability == 0:
            return x
        keep = 1 - self.probability
        return x * torch.empty_like(x).bernoulli_(keep, generator=self.generator).div_(keep)


class SharedCast:
    """Casts an adapter's input, once for all the matrices that read the same tensor (q, k and v; gate and up)."""

    def __init__(self, dtype: torch.dtype) -> None:
        self.dtype = dtype
        self._source: Tensor | None = None
        self._result: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Return `x` in the adapter's dtype."""
        if x.dtype == self.dtype:
            return x
        if self._result is None or self._source is not x:
            self._source, self._result = x, x.to(self.dtype)
        return self._result

    def clear(self) -> None:
        """Let go of the last tensor."""
        self._source = self._result = None


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
        self._replaced: dict[str, Tensor] = {}
        if not method.drops_input:
            object.__setattr__(method, "drop", dropout)
        method.install(base, self._adapt)
        self._trainable = {name: p for name, p in self.named_parameters() if p.requires_grad}

    def _adapt(self, module: nn.Module, site: Site) -> None:
        method, cast = self.method, self._cast
        dropout = self.dropout if method.drops_input and self.dropout.probability else None

        def input_hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            return (method.enter(cast(inputs[0]), site).to(inputs[0].dtype), *inputs[1:])

        def output_hook(_: nn.Module, inputs: tuple[Tensor, ...], y_BTo: Tensor) -> Tensor:
            x_BTi = cast(inputs[0])
            return method.transform(x_BTi if dropout is None else dropout(x_BTi), y_BTo, site).to(y_BTo.dtype)

        sides = method.sides(site)
        if "input" in sides:
            module.register_forward_pre_hook(input_hook)
        if "output" in sides:
            module.register_forward_hook(output_hook)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, **options: Any) -> Any:
        """Run the adapted base.

        Args:
            input_ids: (B, T) tokens; padding on the left.
            attention_mask: (B, T), or (B, n + past + T) when a filled `past_key_values` continues a sequence.
            options: passed to the base: `past_key_values`, `use_cache`, `logits_to_keep`.

        Returns:
            The base's output; `logits` (B, T or fewer, V) cover text tokens only.
        """
        if self._held:
            self.before_pass()
        else:
            self._prepare()
        inputs = self._inputs(input_ids, attention_mask, options)
        try:
            return call_with(self.base, self._replaced, inputs)
        finally:
            self._cast.clear()
            self.method.release()

    def _prepare(self) -> None:
        self.method.prepare()
        self._replaced = self.method.replaced()
        for name, copy in (self.extras.cast() | self.head.cast()).items():
            self._replaced[self.present_names[name]] = copy

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
            self._held, self._replaced = False, {}
            self.train()

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return the trainable parameters by name, each once; those that a step leaves out are among them."""
        return dict(self._trainable)

    def before_step(self, step: int, steps: int) -> None:
        """Let the method act before optimiser step `step` (from 0) of `steps`."""
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
