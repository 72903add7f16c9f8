"""How the studies of a sweep run: what is the same for every cell, and part of the sweep's digest."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import metadata
from typing import Any, Literal

from search_spaces.domains import Domain, Value, domain_of
from search_spaces.grid import domain as domain_from
from search_spaces.search import ADAPTIVE
from search_spaces.spec import SweepSpec
from search_spaces.trial import Frozen


class StudyPlan(Frozen):
    """How the study of every cell runs: the same for all methods."""

    algorithm: Literal["optuna"] = "optuna"
    version: str
    """Of optuna, whose samplers may draw other points in another version."""
    sampler: str
    trials: int
    """Points of each study."""
    startup: int
    """Points that are asked for before any score is told, all at once."""
    batch: int
    """Points that are asked for at a time after that."""
    seed: int
    select_seeds: tuple[int, ...]
    """The seeds of the trials at a point, whose mean score is told."""
    domain: dict[str, Any]
    """Axis -> values or bounds, as a sweep file writes them."""

    @property
    def axes(self) -> dict[str, Domain]:
        """The domains of the axes."""
        return {axis: domain_of(written) for axis, written in self.domain.items()}

    def holds(self, point: Mapping[str, Value]) -> bool:
        """Tell whether a point lies in the domain."""
        axes = self.axes
        return point.keys() == axes.keys() and all(value in axes[axis] for axis, value in point.items())


def study_plan(spec: SweepSpec) -> StudyPlan | None:
    """Return how a sweep's studies run; None for a sweep of a grid."""
    search = spec.search
    if search.algorithm == "grid":
        return None
    adaptive, trials = search.of("sampler") in ADAPTIVE, search.of("trials")
    return StudyPlan(
        version=metadata.version("optuna"),
        sampler=search.of("sampler"),
        trials=trials,
        startup=search.of("startup") if adaptive else trials,
        batch=search.of("batch") if adaptive else trials,
        seed=search.of("seed"),
        select_seeds=spec.seeds.select,
        domain={axis: domain_from(values).written() for axis, values in spec.grid.items()},
    )
