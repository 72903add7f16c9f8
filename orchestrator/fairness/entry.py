"""Entries: trials as planned, or as found in MLflow. What the fairness rules look at."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from operator import attrgetter
from typing import Any

from orchestrator.cells import Cell, cell_of, row_name
from search_spaces.sections import DEFAULT_OPTIMIZER
from search_spaces.trial import Training, Trial, digest
from trainers.results import Counts, Status, Usage

HYPERPARAMETERS = (
    "learning_rate",
    "head_learning_rate",
    "scale",
    "epochs",
    "steps",
    "batch_size",
    "betas",
    "eps",
    "weight_decay",
    "scheduler",
    "warmup_ratio",
    "clip",
    "dropout",
)
"""What a grid may vary, or hold fixed, for all methods.

The optimiser is a variant of a method; lengths and checkpoints have rules of their own.
"""


@dataclass(frozen=True)
class Entry:
    """One trial, with what its method declares and, where it ran, what was observed.

    Attributes:
        trial: the trial.
        main: the task's main metric, which selects.
        counts: trainable parameters.
        reads: hyper-parameters that method and optimiser read, out of those that they may leave unread.
        roles: roles of the matrices that the method acts on, which its definition may fix; None where that is not known.
        trains_extra: parts of the base that the method trains by definition.
        is_control: whether the method's rows can show what extra parts of the base bring.
        head_schedule: when the method trains the classification head, if not in every step, in words.
        defaults: the method's default settings.
        optimizer: the sweep's optimiser, which a variant may deviate from.
        budgets: the parameter budgets that the capacity was solved for; of a method of fixed size, the nearest.
        tolerance: relative distance from them up to which the row carries no mark.
        status: None for a planned trial, and so are the fields below.
        usage: what was consumed of the common budget.
        data_digests: digests of what was read, by split.
        numerics: precision, engine and DeepSpeed configuration that were in force.
        environment: library versions, class of hardware, and threads and workers, that can change numbers.
        packed: how many trials its pack had, or is to have; 1 with a process to itself, None where that is not known.
        metrics: final metrics, such as `selection/f1`.
    """

    trial: Trial
    main: str
    counts: Counts | None = None
    reads: tuple[str, ...] = ()
    roles: tuple[str, ...] | None = None
    trains_extra: tuple[str, ...] = ()
    is_control: bool = False
    head_schedule: str = ""
    defaults: Mapping[str, Any] = field(default_factory=dict)
    optimizer: str = DEFAULT_OPTIMIZER
    budgets: tuple[int, ...] = ()
    tolerance: float = 0.0
    status: Status | None = None
    usage: Usage | None = None
    data_digests: Mapping[str, str] | None = None
    numerics: Mapping[str, Any] | None = None
    environment: Mapping[str, Any] | None = None
    packed: int | None = None
    metrics: Mapping[str, float] | None = None

    @cached_property
    def cell(self) -> Cell:
        """The cell that the trial belongs to."""
        return cell_of(self.trial)

    @cached_property
    def row(self) -> str:
        """The row of the board, such as `lora (rank=8)`."""
        return row_name(self.cell.label, self.cell.config)

    @cached_property
    def scope(self) -> str:
        """What rows are compared within."""
        return f"{self.cell.task} with {self.cell.model}"

    @cached_property
    def environment_name(self) -> str:
        """A short name of the environment, which equal ones share; empty where none is recorded."""
        return digest(self.environment)[:8] if self.environment else ""

    @property
    def finished(self) -> bool:
        """Whether the trial ran to its end."""
        return self.status == "finished"

    @property
    def selects(self) -> bool:
        """Whether the trial belongs to the select phase of a method."""
        return self.trial.phase == "select" and not self.cell.is_base

    @property
    def reports(self) -> bool:
        """Whether the trial belongs to the report phase of a method."""
        return self.trial.phase == "report" and not self.cell.is_base


def hyperparameters(training: Training) -> tuple[Any, ...]:
    """Return the values of `HYPERPARAMETERS`."""
    values: tuple[Any, ...] = _HYPERPARAMETERS(training)
    return values


_HYPERPARAMETERS = attrgetter(*HYPERPARAMETERS)
