"""What a trial is handed out as and leaves behind. Free of torch, so that every room may read it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field

from search_spaces.compute import STANDARD, Compute
from search_spaces.trial import Frozen, Trial, digest

Status = Literal["finished", "diverged", "out_of_memory", "error", "pruned"]
RUNG_METRIC = "selection/rung-"
"""What the names of an Outcome's metrics at rungs begin with; they are there whatever became of the trial afterwards."""
RUNGS = "rungs"
"""In a sweep's folder, the folder of what trials left at the rungs of successive halving: `<step>/<trial id>/`, as `outcomes` is."""
SENTINELS = "sentinels"
"""In a sweep's folder, the folder of its sentinels by environment (see `trainers.sentinel`)."""


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


@dataclass(frozen=True)
class Count:
    """How large an adapter is, and what it acts on."""

    counts: Counts
    parts: dict[str, int] = field(default_factory=dict)
    """Trainable parameters by group: the method's own, `extras` for norms and biases, `head` for the classification head."""
    bytes: int = 0
    """Size of the stored adapter's tensors, head excluded: fp32 values, indices as they are."""
    roles: tuple[str, ...] = ()
    """Roles of the matrices that the method acts on."""
    text_positions: int | None = None
    """Positions of the model that the method's virtual tokens leave for text; None where there are none, or positions have no end."""


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
    """Median over the optimiser steps after a warm-up: a tenth of the steps, at least one and at most five, is left out."""
    train_seconds: float = 0.0
    """Time in training steps and evaluations; in a pack, the trial's own and its share of joint passes."""
    wall_seconds: float = 0.0
    """Time from the trial's hand-out to its Outcome on disk."""
    spans: dict[str, float] = Field(default_factory=dict)
    """Seconds of `wall_seconds` by what they went to (see `trainers.spans`); of a pass of a pack, the trial's share."""
    peak_bytes: int | None = None
    """Peak of device memory in training, the base included, or in evaluation where nothing is trained; on CPU, of the resident set. Of
    several workers the largest one."""
    flops: float | None = None
    """Floating-point operations of the forward and backward passes over the first global batch, on all workers together, the optimiser's
    update left out."""
    macs: float | None = None
    """The multiplications among them."""
    forward_flops: float | None = None
    """Those of `flops` in the forward pass, which is all that profilers of inference report."""
    adapter_bytes: int | None = None
    """Size of the stored adapter."""
    load_seconds: float | None = None
    """Time to put the stored adapter on the resident base: build its modules, read its file, copy its tensors; None if none is stored."""


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
    """Versions, hardware class, threads, workers, precision, company; `environment_digest` hashes what can change numbers."""
    environment_digest: str = ""
    error: str | None = None
    """What went wrong, with the last lines of the traceback where there is one."""


@dataclass(frozen=True)
class Job:
    """One hand-out of a trial to a worker."""

    trial: Trial
    attempt: str
    storage: str
    """The sweep's folder: a path or a URI."""
    time_limit: float | None = None
    """Seconds."""
    deepspeed: tuple[tuple[str, Any], ...] = ()
    """DeepSpeed settings that do not change what is trained."""
    compute: Compute = STANDARD
    """How it computes, where that does not change what is trained either."""
    solo: bool = False
    """Whether the trial has a fresh process to itself and no trial runs beside it, so that its times and memory are a profile."""
    side_by_side: int = 1
    """How many trials may run at one time."""
    packed: int = 1
    """How many trials a pack of the sweep has: above 1 the trial runs as a lane of one, beside others or alone."""
    cohort: tuple[str, int] | None = None
    """Name and size of the group of trials that it begins together with, in one pack."""
    marker: str = ""
    """File in `storage` that is there while the driver runs: a worker that does not see it has another storage. Empty: not checked."""
    rungs: tuple[int, ...] = ()
    """Steps at which the trial is compared with others (see `search_spaces.halving`): what it scored there is in its Outcome."""
    until: int | None = None
    """The one of them at which it pauses, leaving a checkpoint and an Outcome of status `pruned` there; None trains to the end."""


@dataclass(frozen=True)
class Progress:
    """A sign of life from a running trial."""

    trial_id: str
    step: int
    steps: int
    loss: float | None = None


@dataclass(frozen=True)
class SentinelPost:
    """Where a sweep's sentinels are recorded.

    Attributes:
        storage: the sweep's folder: a path or a URI.
        marker: as in `Job`.
    """

    storage: str
    marker: str


def rung_metric(step: int, name: str) -> str:
    """Return what an Outcome calls a value of the selection split at a rung."""
    return f"{RUNG_METRIC}{step}/{name}"


def platform_digest(environment: Mapping[str, Any]) -> str:
    """Return the digest of what an Outcome's environment says of versions and hardware class, however the trial was executed."""
    return digest({name: environment.get(name) for name in ("versions", "hardware")})[:16]
