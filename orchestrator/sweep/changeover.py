"""What is decided between the phases: which points are reported, and whether the grid was wide enough to report any."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field

from orchestrator.cells import Cell, cell_of
from orchestrator.fairness import Edge
from orchestrator.plan import Plan
from orchestrator.selection import UNDECIDED, Selection
from search_spaces.trial import Trial
from trainers.results import Outcome


@dataclass
class Changeover:
    """Makes the report trials once every select trial has an Outcome, unless selected points lie on an edge of the grid (F9).

    Attributes:
        plan: of the sweep.
        done: returns the ids of all trials that have an Outcome, called when it matters.
        stopped_at: cells that keep the report phase from beginning, with the edges that their points lie on.
    """

    plan: Plan
    done: Callable[[], Collection[str]]
    stopped_at: dict[Cell, tuple[Edge, ...]] = field(default_factory=dict)

    def report_trials(self, outcomes: Mapping[str, Outcome]) -> Iterable[Trial]:
        """Select every cell's point and return the trials that report it; none where the sweep stops.

        A cell whose report phase has begun stops nothing: its test split has been read, and only an audit can still say so.
        """
        broken = {cell_of(trial) for trial in self.plan.exploration.due(outcomes) if outcomes[trial.id].status in UNDECIDED}
        chosen = {cell: found for cell, found in self.plan.select(outcomes).items() if cell not in broken}
        if not self.plan.spec.search.accept_edge:
            self.stopped_at = self._not_begun(self.plan.edges(chosen), chosen)
        if self.stopped_at:
            return ()
        return self.plan.report_trials({cell: found.point for cell, found in chosen.items()})

    def _not_begun(self, edges: Mapping[Cell, tuple[Edge, ...]], chosen: Mapping[Cell, Selection]) -> dict[Cell, tuple[Edge, ...]]:
        done = set(self.done()) if edges else set()
        return {
            cell: found
            for cell, found in edges.items()
            if not any(trial.id in done for trial in self.plan.factory.report(cell, chosen[cell].point))
        }
