"""The search: every point of a grid, or a study of optuna's, the same for every method."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import Field

from search_spaces.domains import Choice, Domain, IntUniform, Range, domain_of
from search_spaces.errors import Fault, suggestion
from search_spaces.faults import Section, join
from search_spaces.grid import BUDGET_AXES

ALGORITHMS = ("grid", "optuna")
SAMPLERS = ("tpe", "random", "qmc")
"""Tree-structured Parzen estimator (Bergstra et al. 2011), independent uniform draws, and a scrambled Sobol sequence."""
ADAPTIVE = ("tpe",)
"""Samplers that look at the scores of earlier points; the others' points are all known from the start."""
DEFAULTS: Mapping[str, Any] = {"sampler": "tpe", "trials": 32, "startup": 10, "batch": 4, "seed": 0}
"""Of the algorithm `optuna`."""

LARGEST_EXTENSION = 2
"""How often the grid may be extended at one end of an axis."""


class ExtensionSection(Section):
    """How often one axis of the grid was extended by a step: written by `fairsweep extend`, counted by the fairness rules."""

    low: int = Field(default=0, ge=0, le=LARGEST_EXTENSION)
    high: int = Field(default=0, ge=0, le=LARGEST_EXTENSION)


class SearchSection(Section):
    """How the axes are searched. The keys that are null take their default, or are not read by the algorithm."""

    algorithm: str = "grid"
    """`grid`: every combination of the axes' values. `optuna`: a study per row and task, alike for every method."""
    sampler: str | None = None
    """One of `SAMPLERS`."""
    trials: Annotated[int, Field(ge=1)] | None = None
    """Points of each study."""
    startup: Annotated[int, Field(ge=1)] | None = None
    """Points that are drawn at random before an adaptive sampler looks at scores; the same for every method."""
    batch: Annotated[int, Field(ge=1)] | None = None
    """Points that an adaptive sampler is asked for at a time; it is told their scores together."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """Of the sampler, the same in every study."""
    accept_edge: bool = False
    """Whether selected points on the edge of the grid are reported as they are, their rows marked, where else the sweep stops."""
    extended: dict[str, ExtensionSection] = Field(default_factory=dict)
    """Axis -> steps that its two ends were extended by."""

    @classmethod
    def cross_faults(cls, raw: Mapping[str, Any]) -> Iterable[Fault]:
        """Algorithms and samplers that are not there, keys that they do not read, and numbers that do not fit together."""
        algorithm = raw.get("algorithm", "grid")
        if algorithm not in ALGORITHMS:
            yield Fault("algorithm", f"{algorithm!r} is not available. Valid: {', '.join(map(repr, ALGORITHMS))}.")
        elif algorithm == "grid":
            for key in DEFAULTS:
                if raw.get(key) is not None:
                    yield Fault(key, "the algorithm 'grid' does not read it; the number of trials follows from the grid", "remove it")
        else:
            yield from _sampler_faults(raw)

    def of(self, key: str) -> Any:
        """Return a key's value, or its default."""
        value = getattr(self, key)
        return DEFAULTS[key] if value is None else value


def search_faults(raw: Mapping[str, Any]) -> Iterable[Fault]:
    """Yield what does not go together in a sweep file: the search and the axes of the grid."""
    search, grid = _mapping(raw, "search"), _mapping(raw, "grid")
    domains = dict(_domains(grid))
    if search.get("algorithm", "grid") == "grid":
        for axis, domain in domains.items():
            if isinstance(domain, Range):
                what = f"{grid[axis]!r} is continuous, which the algorithm 'grid' cannot enumerate"
                yield Fault(join("grid", axis), what, "write a list of values, or `search: {algorithm: optuna}`")
    elif search.get("algorithm") == "optuna":
        yield from _too_few(search, domains)
        yield from _budget_axes(raw, domains)


def size_of(domain: Domain) -> float:
    """Return how many values a domain has; infinite for one of real numbers."""
    if isinstance(domain, Choice):
        return len(domain.values)
    return domain.high - domain.low + 1 if isinstance(domain, IntUniform) else math.inf


def _sampler_faults(raw: Mapping[str, Any]) -> Iterable[Fault]:
    sampler = raw.get("sampler") or DEFAULTS["sampler"]
    if sampler not in SAMPLERS:
        yield Fault("sampler", f"{sampler!r} is not available. {suggestion(str(sampler), SAMPLERS)}")
        return
    if sampler not in ADAPTIVE:
        for key in ("startup", "batch"):
            if raw.get(key) is not None:
                yield Fault(key, f"the sampler {sampler!r} does not read it; all its points are known from the start", "remove it")
        return
    trials, startup = (DEFAULTS[key] if raw.get(key) is None else raw[key] for key in ("trials", "startup"))
    if isinstance(trials, int) and isinstance(startup, int) and startup > trials >= 1:
        yield Fault("startup", f"{startup} start-up points do not fit into {trials} trials", f"write `startup: {max(1, trials // 3)}`")


def _domains(grid: Mapping[str, Any]) -> Iterable[tuple[str, Domain]]:
    """Yield the axes that can be read; what is wrong with the others is told by the grid."""
    for axis, written in grid.items():
        try:
            yield str(axis), written if isinstance(written, Range) else domain_of(written)
        except ValueError:
            continue


def _too_few(search: Mapping[str, Any], domains: Mapping[str, Domain]) -> Iterable[Fault]:
    trials = DEFAULTS["trials"] if search.get("trials") is None else search["trials"]
    points = math.prod(size_of(domain) for domain in domains.values())
    if domains and isinstance(trials, int) and trials > points:
        fix = f"write `trials: {points:g}` or fewer, a continuous axis, or `search: {{algorithm: grid}}`"
        yield Fault("search.trials", f"{trials} trials, and the axes have {points:g} points", fix)


def _budget_axes(raw: Mapping[str, Any], domains: Mapping[str, Domain]) -> Iterable[Fault]:
    """Yield axes by which methods whose searches take different ways would be trained on different amounts of data."""
    in_steps = _mapping(raw, "training").get("steps") is not None
    for axis in (*BUDGET_AXES, *(("batch_size",) if in_steps else ())):
        if axis in domains and size_of(domains[axis]) > 1:
            what = "the points of a search differ between methods, and this axis would give them different numbers of examples"
            fix = "give the budget in epochs" if axis == "batch_size" else f"write one value under `training: {{{axis}: ...}}`"
            yield Fault(join("grid", axis), what, f"{fix}, or `search: {{algorithm: grid}}`")


def _mapping(raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = raw.get(key)
    return value if isinstance(value, Mapping) else {}
