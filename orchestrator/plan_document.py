"""`plan.json` as a leaderboard or an audit reads it: what was planned, whoever planned it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict

from orchestrator.cells import Cell, frozen_capacity
from orchestrator.study_plan import StudyPlan
from orchestrator.sweep_digest import sweep_digest
from search_spaces.halving import HalvingSection
from search_spaces.published import PublishedSection
from search_spaces.search import size_of
from search_spaces.sections import DEFAULT_OPTIMIZER
from search_spaces.trial import TRIAL_FORMAT, Scalar


class _Part(BaseModel):
    """Something that plan.json holds; what is not read here is let be."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class PlannedCell(_Part):
    """A cell of the plan."""

    model: str
    task: str
    label: str
    capacity: dict[str, Scalar]

    @property
    def cell(self) -> Cell:
        """The cell as a key."""
        return Cell(self.model, self.task, self.label, frozen_capacity(self.capacity))


class CountedCell(PlannedCell):
    """A cell with its trainable parameters."""

    counts: dict[str, int]
    roles: tuple[str, ...] | None = None
    budgets: tuple[int, ...] = ()


class PlannedTrial(PlannedCell):
    """A trial of the plan."""

    id: str
    point: dict[str, Scalar | None]
    seed: int


class RefusedCell(PlannedCell):
    """A cell that its method's definition does not cover."""

    reason: str


class Implementation(_Part):
    """What stands behind a label."""

    method: str
    family: str = ""
    optimizer: str = DEFAULT_OPTIMIZER
    defaults: dict[str, Any] = {}
    reads: tuple[str, ...] = ()
    trains_extra: tuple[str, ...] = ()
    is_control: bool = False
    head_schedule: str = ""


class Seeds(_Part):
    """The seeds of the two phases."""

    select: tuple[int, ...]
    report: tuple[int, ...]


class Training(_Part):
    """The training that all methods share."""

    optimizer: str = DEFAULT_OPTIMIZER


class Budgets(_Part):
    """The parameter budgets."""

    tolerance: float


class Resources(_Part):
    """What a trial occupies."""

    solo: bool = False


class Ends(_Part):
    """How often an axis was extended."""

    low: int = 0
    high: int = 0


class Search(_Part):
    """How the grid was searched."""

    algorithm: str = "grid"
    accept_edge: bool = False
    extended: dict[str, Ends] = {}


class Spec(_Part):
    """The sweep file."""

    seeds: Seeds
    search: Search = Search()
    budgets: Budgets | None = None
    training: Training = Training()
    resources: Resources = Resources()
    halving: HalvingSection | None = None
    published: PublishedSection | None = None


class PlanDocument(_Part):
    """`plan.json`."""

    sweep: str
    digest: str
    spec: Spec
    main_metrics: dict[str, str]
    implementations: dict[str, Implementation]
    cells: tuple[CountedCell, ...]
    refused: tuple[RefusedCell, ...] = ()
    select: tuple[PlannedTrial, ...]
    base_trials: tuple[PlannedTrial, ...]
    points: tuple[dict[str, Scalar | None], ...] = ()
    """All points of a grid; of a search those that every study begins with."""
    search: StudyPlan | None = None

    @property
    def varied(self) -> tuple[str, ...]:
        """Axes that have more than one value."""
        if self.search is not None:
            return tuple(axis for axis, domain in self.search.axes.items() if size_of(domain) > 1)
        axes = dict.fromkeys(axis for point in self.points for axis in point)
        return tuple(axis for axis in axes if len({point.get(axis) for point in self.points}) > 1)


def edited(document: Mapping[str, Any], plan: PlanDocument) -> bool:
    """Tell whether a plan's trials, seeds, search or budgets are other ones than those that its digest was made of.

    Plans of another trial format are taken as they are: their digests were made in another way.
    """
    if document.get("trial_format") != TRIAL_FORMAT:
        return False
    select = ((planned.label, planned.id) for planned in plan.select)
    base = (planned.id for planned in plan.base_trials)
    budgets = document["spec"].get("budgets")
    return plan.digest != sweep_digest(select, base, plan.spec.seeds.report, document.get("search"), budgets)
