"""All that is derived from the rows of a board: their intervals and ties, and the Analysis beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from orchestrator.cells import row_name
from orchestrator.leaderboard.analysis import Analysis, Drift, Reference
from orchestrator.leaderboard.confidence import with_average_ranks, with_intervals, with_ties
from orchestrator.leaderboard.row import Row
from orchestrator.leaderboard.samples import Evidence, Samples, samples_of
from orchestrator.leaderboard.views.families import families_of
from orchestrator.leaderboard.views.fronts import fronts_of
from orchestrator.leaderboard.views.granularity import granularities
from orchestrator.leaderboard.views.grids import grids_of, untuned_selection
from orchestrator.leaderboard.views.hours import device_hours
from orchestrator.leaderboard.views.learning import learning_of
from orchestrator.leaderboard.views.ranks import across_tasks
from orchestrator.leaderboard.views.tuning import expected_bests, sensitivities, undecided
from orchestrator.recorded import RecordedSweep
from search_spaces.search import ADAPTIVE

NO_EVIDENCE = "no intervals, ties or training curves: the predictions were not read"


def findings_of(
    sweep: RecordedSweep,
    rows: Sequence[Row],
    evidence: Evidence | None = None,
    *,
    references: Sequence[Reference] = (),
    drift: Sequence[Drift] = (),
) -> tuple[tuple[Row, ...], Analysis]:
    """Return the rows with intervals, ties and average ranks, and the Analysis of the sweep.

    Args:
        sweep: what ran.
        rows: its rows, those of one base model together, the best first.
        evidence: what the report runs left; without it there are no intervals, comparisons and curves.
        references: published results, which are shown and not analysed.
        drift: what the sentinel trials say of the environments.
    """
    samples = samples_of(sweep, rows, evidence) if evidence is not None else Samples()
    across, families = across_tasks(rows), families_of(sweep, rows, samples)
    found = with_average_ranks(with_ties(with_intervals(rows, samples), families), across)
    grids, untuned = grids_of(sweep), untuned_selection(sweep)
    analysis = Analysis(
        families=families,
        across_tasks=across,
        expected_best=expected_bests(grids, untuned, sweep.plan.search is not None and sweep.plan.search.sampler in ADAPTIVE),
        grids=grids,
        sensitivities=sensitivities(grids, untuned),
        fronts=fronts_of(found),
        granularities=granularities(found),
        learning=learning_of(sweep, found, evidence) if evidence is not None else (),
        references=tuple(references),
        drift=tuple(drift),
        device_hours=device_hours(sweep),
        notes=(*([NO_EVIDENCE] if evidence is None else _gaps(found, samples)), *undecided(grids, untuned)),
    )
    return tuple(found), analysis


def _gaps(rows: Sequence[Row], samples: Samples) -> Iterator[str]:
    """Yield what has no interval, with the reason: rows that lack it for one reason on the same tasks in one note."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for row in rows:
        name = row_name(row.method, row.capacity)
        reasons: dict[str, list[str]] = {}
        for task in row.tasks:
            if reason := samples.left_out.get((row.model, name, task)):
                reasons.setdefault(reason, []).append(task)
        for reason, tasks in reasons.items():
            found.setdefault((reason, ", ".join(tasks), row.model), []).append(name)
    for (reason, where, model), names in found.items():
        yield f"no interval and no comparison: {reason}: {', '.join(names)} on {where} with {model}"
