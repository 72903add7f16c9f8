"""A row of the leaderboard, as INTERFACES describes its JSON. Scores are fractions in 0..1."""

from __future__ import annotations

from search_spaces.published import SelectedOn
from search_spaces.trial import Frozen, Scalar
from trainers.results import Counts

Interval = tuple[float, float]


class MetricScore(Frozen):
    """One metric over the report seeds."""

    mean: float
    std: float | None
    """Sample standard deviation; None for fewer than two seeds."""
    ci: Interval | None = None
    """Confidence interval of the mean, conditional on the selected point; None for fewer than three seeds of what is trained, and where
    the predictions are not known."""


class TaskScore(Frozen):
    """What a row reached on one task."""

    main: str
    """The metric that ranks."""
    metrics: dict[str, MetricScore]
    """Empty when a run is missing, or failed otherwise than by diverging."""
    seeds: int
    """Report runs planned."""
    finished: int
    """Report runs that finished; the diverged ones, which count as the untuned model, are not among them."""
    selected: dict[str, Scalar | None] | None
    """The selected grid point; None while the select phase has not run."""
    select_failed: int = 0
    """Select trials that did not finish."""


class FailedRun(Frozen):
    """A report run that did not finish."""

    run_id: str
    trial: str
    task: str
    seed: int
    status: str
    error: str | None


class PublishedScores(Frozen):
    """What one publication reports for a row. Shown beside it, never ranked, in no average."""

    source: str
    """Key of the source in the sweep file."""
    citation: str
    table: str
    selected_on: SelectedOn
    """The data that picked the reported point: `evaluation` is the very set that is reported on."""
    scores: dict[str, dict[str, float]]
    """Task -> metric -> figure, for tasks of this sweep."""
    notes: tuple[str, ...] = ()


class Row(Frozen):
    """One method at one capacity on one base model."""

    method: str
    """The label."""
    implementation: str
    """Registry key of the method."""
    family: str = ""
    """Family of the method, such as `low-rank`; empty where the plan does not say it."""
    capacity: dict[str, Scalar]
    trainable: int | None
    """Adapter and head; None for a refused row."""
    counts: Counts | None
    adapter_bytes: int | None = None
    """Size of the stored adapter's file, the head included."""
    model: str
    tasks: dict[str, TaskScore]
    average: float | None
    """Mean of the main metrics over all tasks; None when one is missing."""
    average_ci: Interval | None = None
    """Like `MetricScore.ci`, of the average."""
    rank: int | None = None
    """Place among the rows of the same base model; None for an incomplete row."""
    rank_interval: tuple[int, int] | None = None
    """The ranks that the simultaneous comparisons of the model's rows leave open; None for a row that is not compared."""
    average_rank: float | None = None
    """Mean of its ranks over the tasks, among the complete rows of the same base model; ties share one."""
    tie_letters: str = ""
    """Rows that share a letter are not told apart; empty for a row that is not compared."""
    failures: int = 0
    """Report runs that diverged, ran out of memory or failed."""
    failed_runs: tuple[FailedRun, ...] = ()
    seconds_per_step: float | None = None
    """Mean over the finished report runs, like the operations and `load_seconds`."""
    peak_bytes: int | None = None
    """Largest over the finished report runs."""
    flops: float | None = None
    """Of the forward and backward passes over a batch."""
    macs: float | None = None
    forward_flops: float | None = None
    """Those of `flops` in the forward pass, which is all that most published profiles count."""
    load_seconds: float | None = None
    """Time to put the stored adapter on the resident base."""
    packed: int | None = None
    """Width of the widest pack that a report run trained in, whose costs are not known; None where each run computed by itself."""
    runs: tuple[str, ...]
    """MLflow run ids of the report runs."""
    published: tuple[PublishedScores, ...] = ()
    marks: tuple[str, ...] = ()
    """What a reader must know: fairness rules that the row breaks, refusals, incompleteness."""
