"""A Trial: one fully resolved run, and the content hash that names it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cached_property
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field

TRIAL_FORMAT = 2
"""Raised when shared code (loop, data order, initialisation) changes the numbers of every trial."""

Phase = Literal["select", "report"]
Scalar = bool | int | float | str
Batching = Literal["shuffled", "bucketed"]
BASE = "base"
"""Label and registry key of the untuned model, the reference row of every board."""


class Frozen(BaseModel):
    """A value: immutable, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class ModelRef(Frozen):
    """The frozen base model of a trial."""

    id: str
    """Registered name, hub id or local folder."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Storage and compute type of the base's weights."""
    revision: str | None = None
    """Commit of the hub repository; None takes the registered one."""
    digest: str = ""
    """What identifies the weights themselves: a preset's digest, or that of a local folder's files."""


class DataRef(Frozen):
    """The data of a trial: where it comes from, how much of it, and what it is."""

    source: str
    """`hub`, `embedded` or a folder; where, not what: not part of the trial's id."""
    train: int
    """Largest number of training examples."""
    selection: int
    """Largest number of examples of the selection split, carved from train."""
    test: int
    """Largest number of examples of the test split."""
    seed: int
    """Seed of the permutation that picks the examples."""
    digest: str
    """Content hash of the source's rows (of a hub data set: of its id and revision)."""


class MethodRef(Frozen):
    """The method of a trial with its capacity and structural settings."""

    name: str
    """Registry key."""
    version: str
    """Hash of the code that implements the method."""
    capacity: dict[str, Scalar] = Field(default_factory=dict)
    """Capacity keys, such as `{"rank": 8}`."""
    settings: dict[str, Scalar | list[Scalar] | None] = Field(default_factory=dict)
    """Structural settings, such as `{"orientation": "peft"}`; defaults are left out."""


class Checkpointing(Frozen):
    """Which state of the adapter a trial is judged by, and how often it is evaluated."""

    best: Literal["metric", "loss"] | None = "metric"
    """Criterion on the selection split; None keeps the last state."""
    evaluations: int = Field(default=1, ge=1)
    """Number of evaluations, at equally spaced steps, the last step among them."""


class Training(Frozen):
    """The training hyper-parameters of a trial: those of the sweep with the grid point filled in."""

    learning_rate: float = Field(ge=0)
    head_learning_rate: float | None = None
    """Learning rate of the classification head; None takes `learning_rate`."""
    scale: float = 1.0
    """Multiplies the method's registered default scaling."""
    epochs: float | None = None
    steps: int | None = None
    """Optimiser steps; exactly one of `epochs` and `steps` is set."""
    batch_size: int = Field(ge=1)
    """Examples per optimiser step, over all workers."""
    micro_batch: int | None = None
    """Examples per forward pass; changes memory, not meaning: not part of the trial's id."""
    optimizer: str
    optimizer_settings: dict[str, Scalar | list[Scalar] | None] = Field(default_factory=dict)
    """Settings of the optimiser's own, such as `{"p0": 0.1}`; defaults are left out."""
    betas: tuple[float, float]
    eps: float
    weight_decay: float
    scheduler: Literal["linear", "cosine", "constant"]
    warmup_ratio: float
    """Share of the steps over which the learning rate rises linearly from 0."""
    clip: float | None
    """Largest norm of the global gradient; None does not clip."""
    dropout: float
    """Dropout on the adapter's input."""
    max_length: int
    """Tokens of the longest sequence, prompt and target together."""
    max_new_tokens: int = Field(default=50, ge=1)
    """Tokens that generation may write."""
    batches: Batching = "shuffled"
    """How a shuffled epoch is cut into batches: as it comes, or with examples of similar length in one batch."""
    checkpoint: Checkpointing


class Trial(Frozen):
    """One run, resolved: the same content has the same id on every machine."""

    phase: Phase
    label: str
    """The method's label in reports; a name, not part of the id."""
    model: ModelRef
    task: str
    data: DataRef
    method: MethodRef
    targets: tuple[str, ...]
    """Roles of the adapted matrices."""
    head: str = "default"
    also_train: tuple[str, ...] = ()
    """Besides the adapter: `norms`, `biases`."""
    training: Training
    point: dict[str, Scalar | None] = Field(default_factory=dict)
    """The grid point as axis -> value; already resolved into `training`, so not part of the id."""
    seed: int
    vary: tuple[Literal["init", "order", "dropout"], ...] = ("init", "order", "dropout")
    """What the seed drives; the rest runs on seed 0."""
    bracket: str = ""
    """Digest of the rungs and the points that a halved trial competes with; empty where no other trial decides how far it goes."""

    def meaning(self) -> dict[str, Any]:
        """Return everything that changes the numbers, and nothing else."""
        content = self.model_dump(mode="json", exclude={"label", "point"})
        del content["data"]["source"]
        del content["training"]["micro_batch"]
        if not self.training.optimizer_settings:
            del content["training"]["optimizer_settings"]
        if not self.bracket:
            del content["bracket"]
        if self.training.batches == "shuffled":
            del content["training"]["batches"]
        if self.model.digest:
            del content["model"]["id"], content["model"]["revision"]
        return {"format": TRIAL_FORMAT, **content}

    @cached_property
    def id(self) -> str:
        """The first 16 hexadecimal digits of the SHA-256 of the trial's meaning."""
        return digest(self.meaning())[:16]

    def model_copy(self, *, update: Mapping[str, Any] | None = None, deep: bool = False) -> Self:
        """Return a copy, with fields replaced but not validated; the id follows the content."""
        copied = super().model_copy(update=update, deep=deep)
        copied.__dict__.pop("id", None)  # pydantic copies cached properties too
        return copied

    def seed_of(self, consumer: Literal["init", "order", "dropout"]) -> int:
        """Return the seed of one random consumer: the trial's seed where it varies, else 0."""
        return self.seed if consumer in self.vary else 0


def digest(content: Any) -> str:
    """Return the SHA-256, in hexadecimal, of JSON-like content in canonical form."""
    return hashlib.sha256(_CANONICAL.encode(content).encode()).hexdigest()


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
