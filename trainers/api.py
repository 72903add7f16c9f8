"""The types that methods, optimisers and tasks implement or declare. Free of torch, so that every room may read them."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from search_spaces.errors import NotApplicableError
from search_spaces.trial import Scalar

Row = Mapping[str, Any]
"""One row of a data set, in the field names of the hub's version."""
Form = Literal["generate", "choose", "label"]
"""How a model does a task: `generate` writes the answer and stops at a line's end; `choose` scores every option's text; `label` reads
the texts and predicts a class or a number with a classification head."""
Prediction = str | int | float
"""What a model says of an example: a text, the answer of the chosen option, the index of a class, or a number."""


# --------------------------------------------------------------------------------------------------------------- methods


@dataclass(frozen=True)
class Setting:
    """A structural setting of a method: fixed per label, shown in the certificate."""

    default: Scalar | list[Scalar] | None
    choices: tuple[Scalar, ...] = ()
    """Valid values; empty for any value of the default's type."""
    doc: str = ""
    above: float | None = None
    """A number must be larger than this."""
    below: float | None = None
    """A number must be smaller than this."""
    at_least: float | None = None
    at_most: float | None = None

    def fault(self, value: Any) -> str:
        """Return what is wrong with a value, and which ones are valid; nothing for a valid one."""
        return "" if self._takes(value) else f"{value!r} is not valid. Valid: {self.valid}"

    @property
    def valid(self) -> str:
        """Which values are valid, as in `a number above 0, at most 1, such as 0.5`."""
        if self.choices:
            return ", ".join(map(repr, self.choices))
        limits = {"above": self.above, "at least": self.at_least, "below": self.below, "at most": self.at_most}
        bounds = ", ".join(f"{word} {limit:g}" for word, limit in limits.items() if limit is not None)
        kind = {bool: "true or false", int: "a whole number", float: "a number", str: "a text", list: "a list"}.get(
            type(self.default), "a value"
        )
        return f"{kind}{' ' + bounds if bounds else ''}, such as {self.default!r}"

    def _takes(self, value: Any) -> bool:
        if self.choices:
            return any(type(value) is type(choice) and value == choice for choice in self.choices)
        if self.default is None:
            return True
        if isinstance(self.default, float) and type(value) in (int, float):
            return math.isfinite(value) and self._within(value)
        return type(value) is type(self.default) and (type(value) is not int or self._within(value))

    def _within(self, number: float) -> bool:
        return (
            (self.above is None or number > self.above)
            and (self.below is None or number < self.below)
            and (self.at_least is None or number >= self.at_least)
            and (self.at_most is None or number <= self.at_most)
        )


@dataclass(frozen=True)
class MethodCard:
    """What a method declares about itself, right where it is implemented."""

    name: str
    """Registry key, which is the file's name."""
    family: str
    """`low-rank`, `tensor`, `structured`, `scaling`, `adapter`, `prompt`, `full`, ...: a filter on the leaderboard."""
    reference: str
    """The paper, as `arXiv 2106.09685`."""
    source: str
    """The upstream file and revision that the definition was checked against."""
    capacity: tuple[str, ...] = ()
    """Capacity keys; the first is what a parameter budget solves."""
    capacity_defaults: Mapping[str, Scalar] = field(default_factory=dict)
    """Values of capacity keys, for a label that does not give them.

    The first key has one only where the number of parameters does not depend on it, so that no parameter budget can solve it. Where a
    model does not take this default, the nearest valid value below stands in for it in a sweep by budgets.
    """
    settings: Mapping[str, Setting] = field(default_factory=dict)
    default_targets: tuple[str, ...] = ("q", "v")
    trains_at_start: tuple[str, ...] = ("*",)
    """Parameters, as name patterns, that may have a non-zero gradient in the first step; `*` for all."""
    starts_as: Literal["identity", "near", "other"] = "identity"
    """Output before the first step: that of the base exactly, within 0.05 relative, or something else."""
    mergeable: bool = True
    """Whether the adapter can be folded into the base's weights, at least of a base that has room for it."""
    draws: bool = True
    """Whether something is drawn at the start, so that two seeds give two adapters."""
    packable: bool = False
    """Whether adapters of several trials may share a pass over the base, each on rows of its own: they act on a matrix row by row."""
    exports_lora: bool = False
    """Whether `factors` says all: the adapter is a low-rank update of single matrices."""
    reads: tuple[str, ...] = ("learning_rate", "scale", "dropout")
    """Hyper-parameters that the method reads; grid axes outside are declared in the certificate."""
    trains_extra: tuple[str, ...] = ()
    """Parts of the base that the method trains by definition besides its adapter, such as `norms`; needs a matching control row."""
    penalised: bool = False
    """Whether the definition adds a regulariser to the loss."""
    freezes: bool = False
    """Whether some steps leave out parameters of the adapter or of the head, which then keep their values, momentum and all."""
    base_weights: Literal["run", "read_at_start", "read_in_training", "copied"] = "run"
    """What is done with the base's matrices: they are run and nothing else; read when the method is attached, or also in its steps; or
    trained as copies. A worker that holds parts of them can gather them when a method is attached, not in every step."""
    head_schedule: str = ""
    """When the classification head is trained, if not in every step: in words that follow the method's name."""

    @property
    def fixed_size(self) -> bool:
        """Whether no capacity key changes the number of parameters, so that no parameter budget can be solved for."""
        return not self.capacity or self.capacity[0] in self.capacity_defaults

    @property
    def is_control(self) -> bool:
        """Whether a row can show what extra parts of the base bring: LoRA-like updates of single matrices and nothing else."""
        return self.family == "low-rank" and self.exports_lora and not self.trains_extra


# ------------------------------------------------------------------------------------------------------------ optimisers


@dataclass(frozen=True)
class OptimizerCard:
    """What an optimiser declares about itself, right where it is implemented."""

    name: str
    """Registry key, which is the file's name."""
    reference: str
    """The paper, as `arXiv 1711.05101`."""
    source: str
    """The code or the text that the implementation was checked against."""
    reads: tuple[str, ...]
    """Hyper-parameters that the optimiser reads; grid axes that only an optimiser could read and this one does not are declared in the
    certificate. One that does not read `learning_rate` has no schedule either."""
    settings: Mapping[str, Setting] = field(default_factory=dict)
    """Settings of the optimiser's own, which stand beside the method's under a label."""
    forms: tuple[Form, ...] = ("generate", "choose", "label")
    """Forms of tasks that the optimiser can train."""
    limit: str = ""
    """Why it cannot train the other forms."""
    classes_only: Mapping[str, tuple[Scalar, ...]] = field(default_factory=dict)
    """Values of settings that are defined for classes, but not for a number to predict."""
    penalties: bool = True
    """Whether it minimises what a method adds to the loss."""
    elementwise: bool = False
    """Whether every number of a parameter is updated by its own gradient and state alone, so that workers may divide them up anywhere."""
    kernels: bool = False
    """Whether it is one of torch's that takes `foreach` and `fused` in its parameter groups, so that a sweep may choose its kernel."""
    online: bool = False
    """Whether it learns from one example after the other, each from the parameters that the one before left."""

    def refusal(
        self, form: Form, num_labels: int | None = None, settings: Mapping[str, Any] | None = None, *, penalised: bool = False
    ) -> str:
        """Return why the optimiser cannot train a method on a task, or nothing where it can.

        Args:
            form: the form of the task.
            num_labels: outputs of the classification head, 1 for a number.
            settings: the optimiser's settings that are not its defaults.
            penalised: whether the method adds a regulariser to the loss.
        """
        if form not in self.forms:
            return f"the optimiser {self.name} {self.limit}"
        if penalised and not self.penalties:
            return (
                f"the method adds a regulariser to the loss, which the optimiser {self.name} does not minimise. Fix: take another optimiser"
            )
        for key, values in self.classes_only.items() if num_labels == 1 else ():
            if (value := (settings or {}).get(key, self.settings[key].default)) in values:
                return (
                    f"{key}: {value} of the optimiser {self.name} is defined for classes, and this task predicts a number. "
                    "Fix: give the task a sweep of its own, or choose another value"
                )
        return ""


def group_refusal(method: MethodCard, optimizer: OptimizerCard, workers: int, zero_stage: int) -> str:
    """Return why a method cannot be trained with an optimiser by a group of workers at a ZeRO stage, or nothing where it can."""
    if optimizer.online and (workers > 1 or zero_stage):
        return (
            f"the optimiser {optimizer.name} learns from one example after the other, which workers cannot share. "
            "Fix: resources.workers: 1 and deepspeed.zero_stage: 0, or another optimiser"
        )
    if zero_stage and not optimizer.elementwise:
        return (
            f"the optimiser {optimizer.name} does not declare that it updates every number on its own, so ZeRO-{zero_stage} may not divide "
            "its parameters up anywhere. Fix: deepspeed.zero_stage: 0, or another optimiser"
        )
    if zero_stage == 3 and method.base_weights in ("read_in_training", "copied"):
        does = "reads the base's matrices in every step" if method.base_weights == "read_in_training" else "trains copies of whole matrices"
        return f"{method.name} {does}, and under ZeRO-3 no worker holds a whole one. Fix: deepspeed.zero_stage: 2, or another method"
    return ""


# ----------------------------------------------------------------------------------------------------------------- tasks


@dataclass(frozen=True)
class HubSource:
    """A data set on the Hugging Face hub, pinned to a revision."""

    path: str
    revision: str
    config: str | None = None
    train: str = "train"
    test: str = "validation"


@dataclass(frozen=True)
class TaskCard:
    """What a task declares about itself, right where it is implemented."""

    name: str
    """Registry key, which is the file's name."""
    title: str
    hub: HubSource
    license: str
    citation: str
    """Bibliographic reference, as `Rajpurkar et al. 2016, arXiv 1606.05250`."""
    form: Literal["generate", "choose"] | None
    """How a causal language model does it; None where the literature has no such form."""
    main: str
    """The metric that selects and ranks; higher is better."""
    metrics: tuple[str, ...]
    fields: tuple[str, ...]
    """Top-level fields that every row must have."""
    trains_options: bool = False
    """Whether a causal language model learns to choose by the cross-entropy over all options, each with the mean log-probability of its
    tokens as its logit; else it learns to write the right one, by the loss of language modelling."""
    num_labels: int | None = None
    """Outputs of a classification head: the number of classes, or 1 for a number to predict; None where there is no such form."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Names that other releases of the data give to fields, such as `{"premise": "sentence1"}`: theirs -> the one in `fields`."""
    folder: str = ""
    """Folder of the data within a source, for a task that scores another one's data by other rules; empty for one of the task's name."""
    fewest: int = 1
    """Fewest examples of a split that its metrics are defined for."""

    def form_on(self, *, has_head: bool) -> Form:
        """Return the form of the task on a base model with a classification head, or on a causal language model without one.

        Raises:
            NotApplicableError: the task has no form for such a model.
        """
        if has_head:
            if self.num_labels is None:
                raise NotApplicableError(
                    f"the answers of {self.name} are texts, which a classification head cannot write. Fix: use a causal language model"
                )
            return "label"
        if self.form is None:
            raise NotApplicableError(
                f"{self.name} has no form for causal language models: the literature has no prompt for it. "
                "Fix: use an encoder, whose classification head predicts the label"
            )
        return self.form


@dataclass(frozen=True)
class Example:
    """One row as the model sees it."""

    id: str
    group: str
    """The passage the row belongs to: rows of one group are not independent."""
    prompt: str
    """What a causal language model reads; empty where the task has no form for one, and so is `target`."""
    target: str
    """Text that follows the prompt in training, with its leading space and, for generation, its closing newline."""
    references: Any
    """What a prediction is scored against: JSON-like, in the form that `Task.score` takes."""
    options: tuple[str, ...] | None = None
    """Full texts (prompt and continuation) to choose among; None for generation."""
    answers: tuple[str | int, ...] | None = None
    """The prediction that each option stands for, in the order of `options`."""
    texts: tuple[str, ...] = ()
    """What a classification head sees: one text, or a pair."""
    label: int | float | None = None
    """What the head is to predict of the texts: the index of a class, or a number."""


@dataclass(frozen=True)
class Scores:
    """Values in 0..1, correlations in -1..1."""

    metrics: dict[str, float]
    """Of the whole."""
    rows: list[dict[str, float]] | None
    """Of every row: the metrics that are means over rows, or the accuracy where a class is predicted and no metric is one. None where rows
    have no score of their own."""
    count: int = 0
    """Number of predictions that were scored."""


class Task(ABC):
    """One task: how its rows become prompts, and how predictions are scored. Subclasses live one per file in `trainers/tasks`."""

    card: ClassVar[TaskCard]

    @abstractmethod
    def example(self, row: Row) -> Example:
        """Render one row.

        Raises:
            DataError: a field is missing or malformed; the message names the field (the caller adds file and line).
        """

    @abstractmethod
    def score(self, predictions: Sequence[Any], references: Sequence[Any]) -> Scores:
        """Score predictions against references with the official metric, values in 0..1.

        Raises:
            DataError: the two differ in length.
        """

    @abstractmethod
    def embedded(self, split: Literal["train", "test"], count: int, seed: int) -> list[dict[str, Any]]:
        """Write `count` rows in the hub's schema, deterministically in (split, seed), no passage shared between the splits."""
