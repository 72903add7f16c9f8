"""Rule F9: which selected points lie on an edge, and what the certificate says of rows that report them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from orchestrator import tables
from orchestrator.fairness import Conduct, Entry, Rule, certify
from orchestrator.fairness.edges import edges_of
from orchestrator.plan import Plan
from orchestrator.selection import Result, select_point
from search_spaces.domains import Choice, Domain, LogUniform, Uniform
from trainers.results import Status

RATES = (1e-4, 1e-3, 1e-2)
READS = ("learning_rate", "dropout")
Point = dict[str, Any]


def found(scores: dict[float, float | Status], axis: str = "learning_rate", reads: tuple[str, ...] = READS, loss: float = 1.0) -> list[str]:
    """The edges of a cell with these scores; a status stands for a point that failed."""
    results = [result({axis: value}, score, loss) for value, score in scores.items()]
    return list(map(str, edges_of(select_point(results), [r.point for r in results], reads)))


def result(point: Point, score: float | Status, loss: float = 1.0) -> Result:
    return Result(point, 100, score, None) if isinstance(score, str) else Result(point, 100, "finished", score, loss)


@pytest.mark.parametrize(
    ("scores", "edge"),
    [
        ((0.1, 0.9, 0.2), []),
        ((0.9, 0.5, 0.2), ["learning_rate=0.0001, the lowest of 3 values"]),
        ((0.1, 0.5, 0.9), ["learning_rate=0.01, the highest of 3 values"]),
        ((0.1, 0.9, "diverged"), []),
        (("diverged", "diverged", "diverged"), ["learning_rate=0.0001, the lowest of 3 values"]),
        ((0.5, 0.5, 0.5), []),
        ((0.1, 0.9, 0.9), []),
    ],
    ids=["inside", "low", "high", "before divergence", "all diverged", "all equal", "equal to an inner one"],
)
def test_an_edge_is_an_end_that_no_inner_value_equals(scores: tuple[float | Status, ...], edge: list[str]) -> None:
    assert found(dict(zip(RATES, scores, strict=True))) == edge


@pytest.mark.parametrize(
    ("domain", "values", "ends"),
    [
        (LogUniform(1e-6, 1e-1), {2e-6: 0.1, 1e-3: 0.9, 9e-2: 0.2}, []),
        (LogUniform(1e-6, 1e-1), {2e-6: 0.1, 6e-2: 0.9}, ["high"]),
        (LogUniform(1e-6, 1e-1), {1.5e-6: 0.9, 5e-2: 0.1}, ["low"]),
        (Uniform(1e-6, 1e-1), {4e-3: 0.9, 5e-2: 0.1}, ["low"]),
        (LogUniform(1e-6, 1e-1), {4e-3: 0.9, 5e-2: 0.1}, []),
        (LogUniform(1e-6, 1e-1), {6e-2: 0.9, 1e-3: 0.9}, []),
        (Choice((1e-4, 1e-3, 1e-2)), {1e-4: 0.1, 1e-2: 0.9}, ["high"]),
        (Choice((1e-4, 1e-2)), {1e-4: 0.1, 1e-2: 0.9}, []),
    ],
)
def test_a_point_of_a_search_is_on_the_edge_within_a_twentieth_of_the_domain_on_its_own_scale(
    domain: Domain, values: dict[float, float], ends: list[str]
) -> None:
    results = [result({"learning_rate": value}, score) for value, score in values.items()]
    edges = edges_of(select_point(results), [r.point for r in results], READS, {"learning_rate": domain})
    assert [edge.end for edge in edges] == ends


def test_a_bound_that_an_axis_cannot_go_beyond_is_no_edge_of_a_domain() -> None:
    results = [result({"dropout": value}, score) for value, score in {0.001: 0.9, 0.3: 0.1}.items()]
    assert edges_of(select_point(results), [r.point for r in results], READS, {"dropout": Uniform(0.0, 0.5)}) == ()


def test_a_lower_loss_at_the_end_is_no_tie() -> None:
    results = [result({"learning_rate": rate}, 0.5, loss) for rate, loss in zip(RATES, (3.0, 2.0, 1.0), strict=True)]
    assert edges_of(select_point(results), [r.point for r in results], READS)


def test_where_every_point_diverged_only_the_learning_rate_was_chosen() -> None:
    points = [{"learning_rate": rate, "scale": scale} for rate in RATES for scale in (0.5, 1.0, 2.0)]
    results = [result(point, "diverged") for point in points]
    edges = edges_of(select_point(results), points, ("learning_rate", "scale"))
    assert [(edge.axis, edge.end) for edge in edges] == [("learning_rate", "low")]


def test_two_values_have_no_inside() -> None:
    assert found({1e-3: 0.1, 1e-2: 0.9}) == []


@pytest.mark.parametrize(
    ("axis", "values"), [("dropout", (0.0, 0.1, 0.2)), ("warmup_ratio", (0.0, 0.1, 0.2)), ("weight_decay", (0.0, 0.1, 0.2))]
)
def test_a_bound_beyond_which_an_axis_cannot_go_is_no_edge(axis: str, values: tuple[float, ...]) -> None:
    reads = (axis, "learning_rate")
    assert found(dict(zip(values, (0.9, 0.5, 0.1), strict=True)), axis, reads) == []
    assert found(dict(zip(values, (0.1, 0.5, 0.9), strict=True)), axis, reads) == [f"{axis}=0.2, the highest of 3 values"]


def test_an_axis_that_the_method_does_not_read_has_no_edge() -> None:
    assert found({0.1: 0.9, 0.2: 0.5, 0.3: 0.1}, "dropout", reads=("learning_rate",)) == []


@pytest.mark.parametrize("values", [("linear", "cosine", "constant"), (None, 1.0, 2.0)])
def test_words_have_no_order_and_null_no_place_in_it(values: tuple[Any, ...]) -> None:
    axis = "scheduler" if isinstance(values[0], str) else "clip"
    results = [result({axis: value}, score) for value, score in zip(values, (0.9, 0.5, 0.1), strict=True)]
    assert edges_of(select_point(results), [r.point for r in results], (axis,)) == ()


def test_each_axis_of_a_grid_is_looked_at() -> None:
    points = [{"learning_rate": rate, "dropout": dropout} for rate in RATES for dropout in (0.1, 0.2, 0.3)]
    results = [result(p, 0.9 if (p["learning_rate"], p["dropout"]) == (1e-3, 0.3) else 0.1) for p in points]
    assert [(e.axis, e.end) for e in edges_of(select_point(results), points, READS)] == [("dropout", "high")]


@pytest.fixture
def run(plan_of: Callable[..., Plan]) -> list[Entry]:
    """A sweep over three learning rates of which the highest is selected everywhere, and reported."""
    plan = plan_of(f"grid={{learning_rate: {[*RATES]}}}")
    best = plan.factory.points[-1]
    entries = plan.entries((*plan.trials, *plan.report_trials(dict.fromkeys(plan.cells, best)), *plan.base_trials))
    return [
        replace(e, status="finished", metrics={"selection/f1": float(e.trial.point.get("learning_rate") or 0), "selection/loss": 1.0})
        for e in entries
    ]


def rule(entries: list[Entry], **conduct: Any) -> Rule:
    return certify(entries, Conduct(**conduct)).rule("F9")


def test_a_row_that_reports_an_edge_breaks_the_rule_and_is_named(run: list[Entry]) -> None:
    broken = rule(run)
    assert not broken.ok
    assert any(text.startswith("plain on reading with tiny: reported at learning_rate=0.01") for text in broken.evidence["deviations"])
    assert {edge["end"] for edge in broken.evidence["edges"]} == {"high"}


def test_an_accepted_edge_is_a_mark(run: list[Entry]) -> None:
    accepted = rule(run, accepted_edge=True)
    assert accepted.ok and accepted.evidence["accepted"]
    assert "learning_rate=0.01, the highest of 3 values" in accepted.evidence["marks"]["plain on tiny"]


def test_what_is_not_reported_yet_breaks_nothing_and_is_marked_once_it_stands(run: list[Entry]) -> None:
    selects = [entry for entry in run if not entry.reports]
    assert rule(selects).ok and "plain on tiny" in rule(selects).evidence["marks"]
    assert rule(selects, selected=False).evidence["marks"] == {}


def test_a_plan_decides_nothing(run: list[Entry]) -> None:
    planned = rule([replace(entry, status=None, metrics=None) for entry in run])
    assert planned.ok and not planned.evidence["decided"]


def test_more_extensions_than_allowed_break_the_rule(run: list[Entry]) -> None:
    found = rule(run, accepted_edge=True, extended={"learning_rate": {"low": 0, "high": 3}})
    assert found.evidence["deviations"] == ["learning_rate: extended by 3 steps at its high end, where 2 are allowed"]


def test_a_point_beside_nothing_but_failures_is_shown(run: list[Entry]) -> None:
    def fail(entry: Entry) -> Entry:
        hit = entry.selects and entry.trial.label == "plain" and entry.trial.point["learning_rate"] == 1e-2
        return replace(entry, status="diverged", metrics={}) if hit else entry

    shown = rule([fail(entry) for entry in run], accepted_edge=True).evidence["beside_failures"]
    assert "plain on reading with tiny: every value of learning_rate above 0.001 failed (diverged)" in shown


def test_the_plan_shows_axes_that_cannot_be_checked(plan_of: Callable[..., Plan]) -> None:
    assert tables.unchecked(plan_of("grid={learning_rate: [1.0e-3, 1.0e-2]}").certificate)[0].startswith("learning_rate: both of 2 values")
    assert tables.unchecked(plan_of(f"grid={{learning_rate: {[*RATES]}}}").certificate) == []
