"""A search as its runs tell it: repeated, audited, extended and shown, without training anything."""

from __future__ import annotations

import json
import math

import pytest

from orchestrator.audit import Audit, audit
from orchestrator.cells import cell_of
from orchestrator.exploration import Studies
from orchestrator.leaderboard.board import board_of
from orchestrator.leaderboard.export.figures.heat import matrix_of
from orchestrator.leaderboard.views.grids import grids_of
from orchestrator.leaderboard.views.tuning import expected_bests, sensitivities
from orchestrator.recorded import RecordedSweep
from orchestrator.selection import UNDECIDED
from search_spaces.trial import Trial
from tests.orchestrator.leaderboard.conftest import Sweep, observed, one_task, record
from trainers.results import Outcome

SEARCH = (
    "grid: {learning_rate: {log_uniform: [1.0e-6, 1.0e+0]}, weight_decay: {uniform: [0.0, 0.1]}}\n"
    "search: {algorithm: optuna, trials: 10, startup: 4, batch: 3}"
)
TEXT = one_task().replace("grid: {learning_rate: [1.0e-3, 1.0e-2, 1.0e-1]}", SEARCH).replace("select: [100]", "select: [100, 101]")


def score(trial: Trial, best: float | None = None) -> float:
    """`thin` is best at 1e-4, `plain` at 1e-2."""
    if trial.phase == "report":
        return 0.2 if trial.label == "base" else 0.5 + trial.seed / 10
    exponent = best if best is not None else -4 if trial.label == "thin" else -2
    return 0.9 - abs(math.log10(float(trial.point["learning_rate"] or 0)) - exponent) / 8 - trial.seed / 1e5


@pytest.fixture(scope="module")
def sweep() -> Sweep:
    return Sweep(TEXT, score)


def deviations(found: Audit, rule: str) -> str:
    return " | ".join(found.rule(rule).evidence["deviations"])


def selects(sweep: Sweep, label: str) -> list[Trial]:
    return [trial for trial in sweep.trials if trial.phase == "select" and trial.label == label]


def recorded(sweep: Sweep, outcomes: dict[str, Outcome], *more: tuple[Trial, Outcome]) -> RecordedSweep:
    trials = [(trial, outcomes[trial.id]) for trial in sweep.trials if trial.id in outcomes]
    return RecordedSweep(json.loads(json.dumps(sweep.plan.document())), [record(*pair, sweep.plan.digest) for pair in (*trials, *more)])


def test_the_plan_knows_how_many_trials_come_and_where_every_search_begins(sweep: Sweep) -> None:
    document = sweep.plan.to_json()
    assert document["phases"] == {"select": 40, "report": 5} and document["open"] == 24
    assert document["trials_by_method"] == {"thin": 22, "plain": 22}
    assert document["search"]["domain"]["learning_rate"] == {"log_uniform": [1e-6, 1.0]}
    assert [t.point for t in sweep.plan.trials if t.label == "thin"] == [t.point for t in sweep.plan.trials if t.label == "plain"]
    assert sweep.plan.certificate.ok and "equal budget and domain" in sweep.plan.certificate.rule("F1").title


def test_the_digest_covers_how_a_search_runs(sweep: Sweep) -> None:
    for change in ("batch: 4", "seed: 1, batch: 3", "sampler: tpe, trials: 11"):
        old = "trials: 10" if "trials" in change else "batch: 3"
        assert Sweep(TEXT.replace(old, change), score).plan.digest != sweep.plan.digest, change
    document = json.loads(json.dumps(sweep.plan.document()))
    document["search"]["trials"] = 12
    assert RecordedSweep(document, []).plan_edited


def test_an_untouched_search_passes_its_audit(sweep: Sweep) -> None:
    found = audit(recorded(sweep, sweep.outcomes))
    assert found.ok, [rule.to_json() for rule in found.rules if not rule.ok] + list(found.missing)
    assert found.rule("F1").evidence["points"] == {"thin (rank=2)": 10, "plain": 10}
    later = [{tuple(t.point.items()) for t in selects(sweep, label)[8:]} for label in ("thin", "plain")]
    assert not later[0] & later[1], "each method's search goes its own way"


def test_a_scale_that_is_searched_is_no_setting_of_a_method() -> None:
    drawn = Sweep(TEXT.replace("weight_decay: {uniform: [0.0, 0.1]}", "scale: {uniform: [0.5, 4.0]}"), score)
    scales = [{trial.training.scale for trial in selects(drawn, label)} for label in ("thin", "plain")]
    assert scales[0] != scales[1]
    found = audit(recorded(drawn, drawn.outcomes))
    assert found.ok, [rule.to_json() for rule in found.rules if not rule.ok]


def test_a_point_that_the_sampler_would_not_have_asked_for_is_found(sweep: Sweep) -> None:
    last = selects(sweep, "plain")[-1]
    point = {**last.point, "learning_rate": 0.0123}
    added = last.model_copy(update={"point": point, "training": last.training.model_copy(update={"learning_rate": 0.0123})})
    found = audit(recorded(sweep, sweep.outcomes, (added, observed(added, 0.99))))
    assert "plain on reading with tiny: was tried at learning_rate=0.0123" in deviations(found, "F1")
    assert "which its study does not ask for" in deviations(found, "F1")


def test_a_score_that_was_changed_leads_the_search_elsewhere(sweep: Sweep) -> None:
    first = selects(sweep, "thin")[0]
    outcomes = {**sweep.outcomes, first.id: observed(first, 0.999)}
    found = audit(recorded(sweep, outcomes))
    assert "thin (rank=2) on reading with tiny: was tried at" in deviations(found, "F1")
    assert not found.ok and found.missing, "what the search would have asked for instead did not run"


def test_the_version_of_the_sampler_is_named_where_its_points_differ(sweep: Sweep) -> None:
    first = selects(sweep, "thin")[0]
    changed = recorded(sweep, {**sweep.outcomes, first.id: observed(first, 0.999)})
    assert changed.plan.search is not None
    changed.plan = changed.plan.model_copy(update={"search": changed.plan.search.model_copy(update={"version": "4.9.9"})})
    assert "it ran with optuna 4.9.9" in deviations(audit(changed), "F1")


def test_an_unfinished_search_says_what_is_missing_and_what_is_open(sweep: Sweep) -> None:
    done = {trial.id for trial in selects(sweep, "thin")[:12]}
    half = recorded(sweep, {key: outcome for key, outcome in sweep.outcomes.items() if key in done})
    found = audit(half)
    assert "thin (rank=2) on reading with tiny: 3 points that its search has still to ask for" in found.missing
    assert "plain on reading with tiny: 6 points that its search has still to ask for" in found.missing
    assert sum("select seed" in name for name in found.missing) == 2 + 8
    assert not half.conduct.selected and found.rule("F1").ok


@pytest.mark.parametrize("status", UNDECIDED)
def test_a_search_waits_for_a_trial_that_says_nothing_of_its_point(sweep: Sweep, status: str) -> None:
    broken = selects(sweep, "thin")[3]
    outcomes, exploration = dict[str, Outcome](), sweep.plan.exploration
    for _ in range(10):
        for trial in exploration.due(outcomes):
            outcomes.setdefault(trial.id, observed(trial, score(trial), **({"status": status} if trial.id == broken.id else {})))
    counts = {cell.label: 0 for cell in sweep.plan.cells}
    for trial in exploration.due(outcomes):
        counts[trial.label] += 1
    assert counts == {"thin": 8, "plain": 20}
    retried = sweep.plan.exploration.due({**outcomes, broken.id: observed(broken, score(broken))})
    assert sum(trial.label == "thin" for trial in retried) == 14, "it goes on where it was, once that trial was run again"


def test_a_diverged_point_is_told_and_the_search_goes_on(sweep: Sweep) -> None:
    outcomes, exploration = dict[str, Outcome](), sweep.plan.exploration
    while new := [trial for trial in exploration.due(outcomes) if trial.id not in outcomes]:
        outcomes |= {
            t.id: observed(t, score(t), **({"status": "diverged"} if float(t.point["learning_rate"] or 0) > 0.01 else {})) for t in new
        }
    assert len(outcomes) == 40
    again = RecordedSweep(
        json.loads(json.dumps(sweep.plan.document())), [record(t, outcomes[t.id]) for t in sweep.plan.exploration.due(outcomes)]
    )
    assert {planned.id for planned in again.select} == set(outcomes), "MLflow alone tells the same course"


def test_the_mean_over_the_select_seeds_is_told(sweep: Sweep) -> None:
    def turned(trial: Trial) -> float:
        return score(trial) + (0.05 if trial.seed == 100 else -0.05)

    assert [t.id for t in Sweep(TEXT, turned).trials] == [t.id for t in sweep.trials]


def near(exponent: float) -> Sweep:
    return Sweep(TEXT.replace("trials: 10", "trials: 34"), lambda trial: score(trial, exponent))


def test_a_selected_point_near_a_bound_is_an_edge() -> None:
    high = near(3)
    chosen = high.plan.select(high.outcomes)
    (edges,) = {tuple(found) for cell, found in high.plan.edges(chosen).items() if cell.label == "thin"}
    assert [(edge.axis, edge.end, edge.values) for edge in edges if edge.axis == "learning_rate"] == [
        ("learning_rate", "high", (1e-6, 1.0))
    ]
    assert "within 5% of the domain's width of its upper bound 1" in str(edges[0])
    found = audit(recorded(high, high.outcomes))
    assert "reported at learning_rate" in deviations(found, "F9")


def test_points_of_different_methods_share_the_places_on_a_board(sweep: Sweep) -> None:
    grids = grids_of(recorded(sweep, sweep.outcomes))
    assert [len(grid.points) for grid in grids] == [10, 10] and grids[0].axes == grids[1].axes
    assert {axis: len(values) for axis, values in grids[0].axes.items()} == {"learning_rate": 8, "weight_decay": 8}
    for grid in grids:
        matrix = matrix_of(grid)
        cells = [cell for line in matrix.cells for cell in line]
        assert sum(cell.selected for cell in cells) == 1
        best = max(point.score for point in grid.points if point.score is not None)
        assert max(cell.score for cell in cells if cell.score is not None) == best
    shares = sensitivities(grids, {("tiny", "reading"): 0.2})
    assert all(found.shares["learning_rate"] > found.shares["weight_decay"] for found in shares)


def test_the_tuning_curve_of_a_search_keeps_its_order(sweep: Sweep) -> None:
    grids = grids_of(recorded(sweep, sweep.outcomes))
    for grid, curve in zip(grids, expected_bests(grids, {}, in_order=True), strict=True):
        scores = [point.score for point in grid.points if point.score is not None]
        assert list(curve.scores) == [max(scores[: n + 1]) for n in range(10)] and curve.in_order
    assert board_of(recorded(sweep, sweep.outcomes)).analysis.expected_best[0].in_order


def test_studies_are_a_function_of_outcomes(sweep: Sweep) -> None:
    assert isinstance(sweep.plan.exploration, Studies)
    ids = {trial.id for trial in sweep.plan.exploration.due(sweep.outcomes)}
    assert ids == {trial.id for trial in sweep.trials if trial.phase == "select"}
    assert {cell_of(trial) for trial in sweep.trials if trial.phase == "report"} >= set(sweep.plan.cells)
