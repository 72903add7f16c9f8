"""The sections of the sweep file that stand on their own: models, data, training, seeds, resources, DeepSpeed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field, PlainSerializer

from search_spaces.errors import Fault
from search_spaces.faults import Section
from search_spaces.trial import Batching, Checkpointing, ModelRef

Item = TypeVar("Item")


def _as_tuple(written: Any) -> Any:
    return tuple(written) if isinstance(written, list) else written


def in_order(order: tuple[Item, ...]) -> AfterValidator:
    """Bring a set's items into one order, so that their order in the file changes no trial's id; refuse repeated ones."""

    def read(items: tuple[Item, ...]) -> tuple[Item, ...]:
        for number, item in enumerate(items):
            if item in items[:number]:
                raise ValueError(f"{item!r} is listed more than once")
        return tuple(item for item in order if item in items)

    return AfterValidator(read)


Tuple = BeforeValidator(_as_tuple)
"""Reads a YAML list as a tuple, which strict validation would refuse."""
Seed = Annotated[int, Field(ge=0, lt=2**32)]
Extra = Literal["norms", "biases"]
Consumer = Literal["init", "order", "dropout"]
EXTRAS: tuple[Extra, ...] = ("norms", "biases")
DEFAULT_OPTIMIZER = "adamw"
CONSUMERS: tuple[Consumer, ...] = ("init", "order", "dropout")


class ModelSection(Section):
    """A base model: `{id, dtype, revision}`, or the id alone."""

    id: str = Field(min_length=1)
    dtype: Literal["float32", "bfloat16"] = "float32"
    revision: str | None = None

    misplaced: ClassVar[Mapping[str, str]] = {"name": "write `id`", "precision": "write `dtype: bfloat16` or `dtype: float32`"}

    @property
    def ref(self) -> ModelRef:
        """The model as a Trial holds it, its weights' digest still open."""
        return ModelRef(id=self.id, dtype=self.dtype, revision=self.revision)


ALL = 10**9
"""What the word `all` stands for where a number of rows is due: more than any data set has."""


def _read_rows(written: Any) -> Any:
    if not isinstance(written, str):
        return written
    if written != "all":
        raise ValueError(f"{written!r} is not valid: it should be a number of rows, such as 1000, or `all`")
    return ALL


def _write_rows(count: int) -> int | str:
    return "all" if count == ALL else count


RowCap = Annotated[
    Annotated[int, Field(ge=1)], BeforeValidator(_read_rows), PlainSerializer(_write_rows, return_type=int | str, when_used="json")
]
"""Largest number of rows; the file may write `all`."""


class DataSection(Section):
    """Where the data comes from and how many examples each split has at most.

    The selection split is carved from the train rows. With `train: all` it takes its number of them, and training gets the others.
    """

    source: str = Field(default="hub", min_length=1)
    """`hub`, `embedded`, or a folder with `<task>/{train,validation}.jsonl`."""
    train: RowCap = 1000
    selection: int = Field(default=500, ge=1)
    test: RowCap = 1000
    seed: Seed = 0


class CheckpointSection(Section, Checkpointing):
    """Which state a trial is judged by: `last`, or `{best: loss | metric, evaluations: n}`."""


def _checkpoint(written: Any) -> Any:
    return {"best": None} if written == "last" else written


class TrainingSection(Section):
    """The training hyper-parameters that all methods share; the grid varies some of them."""

    epochs: float | None = Field(default=None, gt=0)
    steps: int | None = Field(default=None, ge=1)
    batch_size: int = Field(default=8, ge=1)
    micro_batch: int | None = Field(default=None, ge=1)
    optimizer: str = Field(default=DEFAULT_OPTIMIZER, min_length=1)
    """Registry key; looked up when the sweep is planned."""
    betas: Annotated[tuple[Annotated[float, Field(ge=0, lt=1)], Annotated[float, Field(ge=0, lt=1)]], Tuple] = (0.9, 0.999)
    eps: float = Field(default=1e-8, gt=0)
    weight_decay: float = Field(default=0.0, ge=0)
    scheduler: Literal["linear", "cosine", "constant"] = "linear"
    warmup_ratio: float = Field(default=0.06, ge=0, le=1)
    clip: float | None = Field(default=1.0, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    max_length: int = Field(default=2048, ge=2)
    max_new_tokens: int = Field(default=50, ge=1)
    batches: Batching = "shuffled"
    checkpoint: Annotated[CheckpointSection, BeforeValidator(_checkpoint)] = CheckpointSection()

    misplaced: ClassVar[Mapping[str, str]] = {
        **{key: f"it is an axis of the grid: write `grid: {{{key}: [...]}}`" for key in ("learning_rate", "head_learning_rate", "scale")},
        "lr": "write `grid: {learning_rate: [...]}`",
        "seed": "seeds have their own section: `seeds: {select: [...], report: [...]}`",
        "gradient_accumulation_steps": "write `micro_batch`; the number of accumulated batches follows from it",
    }

    @classmethod
    def cross_faults(cls, raw: Mapping[str, Any]) -> Iterable[Fault]:
        """Evaluations that do not fit into the steps."""
        checkpoint, steps = raw.get("checkpoint"), raw.get("steps")
        evaluations = checkpoint.get("evaluations") if isinstance(checkpoint, Mapping) else None
        if isinstance(steps, int) and isinstance(evaluations, int) and 1 <= steps < evaluations:
            yield Fault("checkpoint.evaluations", f"{evaluations} evaluations do not fit into {steps} steps")


class SeedsSection(Section):
    """The seeds of the two phases, and what they drive."""

    select: Annotated[tuple[Seed, ...], Tuple, Field(min_length=1)] = (100,)
    report: Annotated[tuple[Seed, ...], Tuple, Field(min_length=1)] = (0, 1, 2, 3, 4)
    vary: Annotated[tuple[Consumer, ...], Tuple, Field(min_length=1), in_order(CONSUMERS)] = CONSUMERS

    @classmethod
    def cross_faults(cls, raw: Mapping[str, Any]) -> Iterable[Fault]:
        """Repeated entries, and seeds that are in both phases."""
        select, report = (raw.get(key, list(cls.model_fields[key].default)) for key in ("select", "report"))
        for key, items in (("select", select), ("report", report)):
            if isinstance(items, list) and (repeated := [x for i, x in enumerate(items) if x in items[:i]]):
                yield Fault(key, f"{repeated[0]!r} is listed more than once")
        if isinstance(select, list) and isinstance(report, list) and (shared := [s for s in select if s in report]):
            yield Fault("report", f"seeds {shared} are in `select` too: a selected seed would be reported again", "use other seeds")


_BYTES = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}
_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": 86400}


def _quantity(units: Mapping[str, int], example: str, upper: bool) -> BeforeValidator:
    """Read a number with a unit, such as 8GiB, into the base unit."""

    def read(written: Any) -> Any:
        if not isinstance(written, str):
            return written
        match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([A-Za-z]*)\s*", written)
        unit = "" if match is None else match[2].upper() if upper else match[2].lower()
        if match is None or unit not in units:
            raise ValueError(f"{written!r} is not valid: it should be a number with a unit, such as {example}")
        return int(float(match[1]) * units[unit])

    return BeforeValidator(read)


class ResourcesSection(Section):
    """What one trial occupies. None of it changes a trial's numbers."""

    workers: int = Field(default=1, ge=1)
    """Processes of one DeepSpeed group."""
    cpus: int = Field(default=1, ge=1)
    """Threads per worker."""
    gpus: float = Field(default=0, ge=0)
    memory: Annotated[Annotated[int, Field(gt=0)] | None, _quantity(_BYTES, "8GiB", upper=True)] = None
    """Bytes; the file may write `8GiB`."""
    time_limit: Annotated[Annotated[float, Field(gt=0)] | None, _quantity(_SECONDS, "30m or 2h", upper=False)] = None
    """Seconds; the file may write `30m` or `2h`. All attempts of a trial count together, and in a pack waiting for the others does not."""
    stall_limit: Annotated[Annotated[float, Field(gt=0)], _quantity(_SECONDS, "15m", upper=False)] = 900
    """Seconds without a sign of life after which a trial counts as hanging: it is ended and handed out again."""
    solo: bool = False
    """One trial at a time, and each of the report phase in a fresh process, so that its times and memory are a profile."""


_DTYPE = "the base's precision is `models: [{id: ..., dtype: bfloat16}]`; adapters and optimiser states are fp32 for every method"
_CHANGES_TRAINING = {
    "optimizer": "write `training: {optimizer: ...}` and `grid: {learning_rate: [...]}`",
    "scheduler": "write `training: {scheduler: ..., warmup_ratio: ...}`",
    "fp16": _DTYPE,
    "bf16": _DTYPE,
    "amp": _DTYPE,
    "train_batch_size": "write `training: {batch_size: ...}`",
    "train_micro_batch_size_per_gpu": "write `training: {micro_batch: ...}`",
    "gradient_accumulation_steps": "write `training: {micro_batch: ...}`; the number of accumulated batches follows from it",
    "gradient_clipping": "write `training: {clip: ...}`",
}


class DeepSpeedSection(Section):
    """The engine: the ZeRO stage and any DeepSpeed key that does not change what is trained."""

    model_config = ConfigDict(extra="allow")

    zero_stage: int = Field(default=0, ge=0, le=3)
    """What the workers of a trial divide up: from 1 the optimiser's state, from 2 the gradients too, with 3 the base's weights too."""

    @classmethod
    def cross_faults(cls, raw: Mapping[str, Any]) -> Iterable[Fault]:
        """Keys that change what is trained."""
        for key in raw:
            if key in _CHANGES_TRAINING:
                yield Fault(key, "changes what is trained, so DeepSpeed's own key is refused", _CHANGES_TRAINING[key])
        zero = raw.get("zero_optimization")
        if isinstance(zero, Mapping) and "stage" in zero:
            yield Fault("zero_optimization.stage", "the stage has a key of its own", "write `deepspeed: {zero_stage: ...}`")
