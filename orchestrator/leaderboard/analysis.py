"""What a board shows beside its rows: comparisons, fronts, grids, budgets. As JSON, for the page, the exports and other programs.

A row is named by `row`, such as `lora (rank=8)`, together with its `model`. Scores are fractions in 0..1.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, FiniteFloat

from orchestrator.leaderboard.row import Interval
from search_spaces.trial import Frozen, Scalar
from trainers.results import Status

Verdict = Literal["better", "worse", "non-inferior", "inconclusive"]
Cost = Literal["trainable", "adapter_bytes", "seconds_per_step", "peak_bytes"]


class Pair(Frozen):
    """Two rows of a family."""

    a: str
    b: str
    difference: float
    """Score of a minus that of b."""
    ci: Interval
    """Simultaneous over the family."""
    p: float
    """Adjusted for the family: step-down max-t, (k + 1) / (resamples + 1)."""
    verdict: Verdict
    """Of a against b; `non-inferior` where a is at most the margin worse."""


class Family(Frozen):
    """The pairs that are tested together."""

    name: str
    """Such as `all pairs of minilm-l6 on average`."""
    model: str
    task: str | None
    """None for the average over all tasks."""
    budget: int | None = None
    """Trainable parameters that the rows were solved for; None for all rows of the model."""
    margin: float
    resamples: int
    pairs: tuple[Pair, ...]
    left_out: dict[str, str] = Field(default_factory=dict)
    """Rows that could not be tested, with the reason."""


class AcrossTasks(Frozen):
    """How the rows of a model order over the tasks. Descriptive."""

    model: str
    average_ranks: dict[str, float]
    """Row -> mean of its ranks over the tasks, ties sharing one; only rows with all tasks."""
    friedman_p: float | None = None
    """By permutation; None for fewer than ten tasks."""


class ExpectedBest(Frozen):
    """What a tuning budget of n points buys.

    On a grid, and where a search draws its points independently, the score that is to be expected of the best of n points drawn without
    replacement (order statistics); where each point of a search depends on the ones before, the best of the first n.
    """

    model: str
    task: str
    row: str
    scores: tuple[float, ...]
    """Selection scores for n = 1, 2, ...; a failed point scores as the untuned model."""
    untuned: float | None = None
    in_order: bool = False
    """Whether it is the best of the first n points, in the order in which a search asked for them."""


class GridPoint(Frozen):
    """One point of the grid of a row on a task."""

    point: dict[str, Scalar | None]
    cell: dict[str, Scalar | None] | None = None
    """Where it stands among the values of the axes, if a search drew it: of a continuous axis the middle of its part of the domain."""
    score: float | None
    """Mean selection score over the select seeds; None where a seed is missing or failed."""
    loss: float | None = None
    statuses: tuple[Status | Literal["missing"], ...]
    """One per select seed."""
    runs: tuple[str, ...] = ()
    """MLflow run ids."""

    @property
    def place(self) -> dict[str, Scalar | None]:
        """Where it stands among the values of the axes."""
        return self.point if self.cell is None else self.cell


class Grid(Frozen):
    """The grid of a row on a task."""

    model: str
    task: str
    row: str
    axes: dict[str, tuple[Scalar | None, ...]]
    """Axes that vary, with their values in order; of a continuous axis the middles of the equal parts that its domain is shown in."""
    points: tuple[GridPoint, ...]
    selected: dict[str, Scalar | None] | None
    edges: tuple[str, ...] = ()
    """Ordered axes of three or more values on whose edge the selected point lies."""


class Sensitivity(Frozen):
    """How much of the variation of the selection score over the grid goes with each axis (main effects; the rest are interactions)."""

    model: str
    task: str
    row: str
    shares: dict[str, float]
    """Axis -> share of the variance, 0..1."""
    spread: float
    """Standard deviation of the selection score over the grid."""


class Front(Frozen):
    """The rows that no other row beats in both cost and average score."""

    model: str
    cost: Cost
    rows: tuple[str, ...]
    """From the cheapest to the best."""


class Granularity(Frozen):
    """How finely the size of a method can be chosen."""

    model: str
    method: str
    sizes: tuple[int, ...]
    """Trainable parameters of the method's rows."""
    smallest: int
    step: float | None
    """Median ratio of neighbouring sizes; None for one size."""


class Learning(Frozen):
    """How a row trained, which says nothing of what it generalises."""

    model: str
    task: str
    row: str
    train_loss: float | None
    """Mean over the report seeds of the last recorded training loss; None where a seed did not finish."""
    target: float | None = None
    """A selection score, the same for all rows of a task: the lowest of the best scores that their report runs reached. None where no run
    was evaluated more than once."""
    steps_to_target: float | None = None
    """Mean over the report seeds of the first step at which the target was reached; None where a seed did not finish."""
    curve: tuple[tuple[int, float], ...] = ()
    """(step, mean training loss over the seeds), at most 100 points."""


class Reference(Frozen):
    """A result that was published and not run here. Shown apart, never ranked."""

    method: str
    model: str
    task: str
    metric: str
    score: FiniteFloat
    n: int | None = None
    """Test examples, where their number is known."""
    ci: tuple[FiniteFloat, FiniteFloat] | None = None
    """Binomial interval; None where the number of test examples is not known, or the metric is no proportion."""
    trainable: int | None = None
    seconds_per_step: FiniteFloat | None = None
    peak_bytes: int | None = None
    adapter_bytes: int | None = None
    source: str
    """Where it was read: a file, with its revision or date."""
    notes: tuple[str, ...] = ()


class Drift(Frozen):
    """The sentinel trial in one environment against the first one."""

    environment: str
    """Digest of versions and hardware class."""
    changes: tuple[str, ...]
    """What differs from the first environment, such as `torch 2.12.0 -> 2.13.0`."""
    deviation: float | None
    """Largest absolute difference of the sentinel's training losses; None where it has not run there, which `run_id` tells, or cannot be
    compared: it took another number of steps, or a loss is not finite."""
    run_id: str | None = None


class Analysis(Frozen):
    """All of it."""

    families: tuple[Family, ...] = ()
    across_tasks: tuple[AcrossTasks, ...] = ()
    expected_best: tuple[ExpectedBest, ...] = ()
    grids: tuple[Grid, ...] = ()
    sensitivities: tuple[Sensitivity, ...] = ()
    fronts: tuple[Front, ...] = ()
    granularities: tuple[Granularity, ...] = ()
    learning: tuple[Learning, ...] = ()
    references: tuple[Reference, ...] = ()
    drift: tuple[Drift, ...] = ()
    device_hours: dict[str, float] = Field(default_factory=dict)
    """Label -> hours of all its trials, times the workers of each."""
    notes: tuple[str, ...] = ()
    """What could not be shown, and why."""
