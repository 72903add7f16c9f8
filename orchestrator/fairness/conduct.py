"""How a sweep was conducted: what the rules need to know that stands in none of its trials."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.study_plan import StudyPlan
from search_spaces.halving import HalvingSection


@dataclass(frozen=True)
class OtherReads:
    """Reads of the test split under another digest of the same sweep's name.

    Attributes:
        digest: that of the other version of the sweep.
        runs: runs that read the split, those of the untuned model among them.
        reads: how often they read it.
        shared: how many of these reads are those of report runs that the audited version takes over.
        rows: `row on model` -> reads that it does not take over, of rows that it has as well.
    """

    digest: str
    runs: int
    reads: int
    shared: int
    rows: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Conduct:
    """What was decided between and around the phases.

    Attributes:
        accepted_edge: whether points on the edge of the grid are reported as they are.
        extended: axis -> end (`low`, `high`) -> steps by which the grid was extended there.
        selected: whether every select trial has run, so that the selected points stand.
        others: reads of the test split under other digests.
        halving: how points are given up before their end; None where none is.
        study: how every cell was searched; None for a grid.
    """

    accepted_edge: bool = False
    extended: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    selected: bool = True
    others: tuple[OtherReads, ...] = ()
    halving: HalvingSection | None = None
    study: StudyPlan | None = None
