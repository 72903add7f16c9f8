"""The types that methods and tasks implement, and that a finished trial is read by. Free of torch, so that every room may read it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import Field

from search_spaces.trial import Frozen, Scalar, Trial

Row = Mapping[str, Any]
"""One row of a data set, in the field names of the hub's version."""


# --------------------------------------------------------------------------------------------------------------- methods


@dataclass(frozen=True)
class Setting:
    """A structural setting of a method: fixed per label, shown in the certificate."""

    default: Scalar | list[Scalar] | None
    choices: tuple[Scalar, ...] = ()
    """Valid values; empty for any value of the default's type."""
    doc: str = ""


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
    settings: Mapping[str, Setting] = field(default_factory=dict)
    default_targets: tuple[str, ...] = ("q", "v")
    trains_at_start: tuple[str, ...] = ("*",)
    """Parameters, as name patterns, that may have a non-zero gradient in the first step; `*` for all."""
    starts_as: Literal["identity", "near", "other"] = "identity"
    """Output before the first step: that of the base exactly, within 0.05 relative, or something else."""
    mergeable: bool = True
    packable: bool = False
    exports_lora: bool = False
    reads: tuple[str, ...] = ("learning_rate", "scale", "dropout")
    """Hyper-parameters that the method reads; grid axes outside are declared in the certificate."""
    trains_extra: tuple[str, ...] = ()
    """Parts of the base that the method trains by definition besides its adapter, such as `norms`; needs a matching control row."""


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
    form: Literal["generate", "choose"]
    """`generate` writes the answer and stops at a line's end; `choose` scores every option's text."""
    main: str
    """The metric that selects and ranks; higher is better."""
    metrics: tuple[str, ...]
    fields: tuple[str, ...]
    """Top-level fields that every row must have."""


@dataclass(frozen=True)
class Example:
    """One row as the model sees it."""

    id: str
    group: str
    """The passage the row belongs to: rows of one group are not independent."""
    prompt: str
    target: str
    """Text that follows the prompt in training, with its leading space and, for generation, its closing newline."""
    references: Any
    """What a prediction is scored against: JSON-like, in the form that `Task.score` takes."""
    options: tuple[str, ...] | None = None
    """Full texts (prompt and continuation) to choose among; None for generation."""
    answers: tuple[str, ...] | None = None
    """The prediction that each option stands for, in the order of `options`."""


@dataclass(frozen=True)
class Scores:
    """Values in 0..1: of the whole, and row by row where the metric is a mean over rows."""

    metrics: dict[str, float]
    rows: list[dict[str, float]] | None
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


# -------------------------------------------------------------------------------------------------------------- outcomes

Status = Literal["finished", "diverged", "out_of_memory", "error", "pruned"]


class Counts(Frozen):
    """Parameters of an adapter."""

    peak: int
    """Trainable at any time during training, head excluded."""
    stored: int
    """Written to disk, head excluded."""
    head: int = 0
    """Trainable in the classification head."""

    @property
    def trainable(self) -> int:
        """Trainable in all: the adapter's peak and the head."""
        return self.peak + self.head


class Usage(Frozen):
    """What a trial consumed of the common budget."""

    steps: int = 0
    examples: int = 0
    text_tokens: int = 0
    """Tokens of text that were forwarded in training, padding and virtual tokens left out."""
    target_tokens: int = 0
    virtual_tokens: int = 0
    """Tokens that a method puts before the text, in training."""
    evaluations: int = 0
    test_reads: int = 0


class Profile(Frozen):
    """What a trial cost."""

    seconds_per_step: float | None = None
    """Median over the optimiser steps, the first left out where there are more."""
    train_seconds: float = 0.0
    """Time in training steps and evaluations."""
    wall_seconds: float = 0.0
    """Time from the trial's hand-out to its Outcome on disk."""
    peak_bytes: int | None = None
    """Peak of device memory; on CPU, of the process's resident set."""
    flops: float | None = None
    """Floating-point operations of one forward and backward pass over the first batch."""
    macs: float | None = None
    adapter_bytes: int | None = None
    """Size of the stored adapter."""


class Outcome(Frozen):
    """All that a trial leaves: also of one that diverged, ran out of memory or failed."""

    trial_id: str
    attempt: str
    """Names this execution; a trial that is run twice keeps the Outcome that was written first."""
    status: Status
    started: float
    """Unix time in seconds."""
    ended: float
    metrics: dict[str, float] = Field(default_factory=dict)
    """Final values: `selection/<metric>`, `selection/loss`, and in the report phase `test/<metric>`."""
    curves: dict[str, list[tuple[int, float]]] = Field(default_factory=dict)
    """(step, value) pairs of `train/loss`, `train/learning_rate`, `selection/<metric>`, ...; no NaN: a diverged curve ends before it."""
    best_step: int | None = None
    """Step whose adapter state was kept by the checkpoint rule."""
    counts: Counts | None = None
    usage: Usage = Usage()
    profile: Profile = Profile()
    data_digests: dict[str, str] = Field(default_factory=dict)
    """Digests of what was actually read: `train`, `selection`, `order` and, in the report phase, `test`."""
    environment: dict[str, Any] = Field(default_factory=dict)
    """Versions, hardware class, threads, workers, precision; `environment_digest` hashes what can change numbers."""
    environment_digest: str = ""
    error: str | None = None
    """What went wrong, with the last lines of the traceback where there is one."""


@dataclass(frozen=True)
class Job:
    """One hand-out of a trial to a worker."""

    trial: Trial
    attempt: str
    storage: str
    """The sweep's folder."""
    time_limit: float | None = None
    """Seconds."""
    deepspeed: tuple[tuple[str, Any], ...] = ()
    """DeepSpeed settings that do not change what is trained."""


@dataclass(frozen=True)
class Progress:
    """A sign of life from a running trial."""

    trial_id: str
    step: int
    steps: int
    loss: float | None = None
