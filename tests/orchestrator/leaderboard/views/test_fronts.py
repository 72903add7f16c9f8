"""Pareto fronts, sizes and device hours."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.leaderboard.row import Row
from orchestrator.leaderboard.views.fronts import fronts_of
from orchestrator.leaderboard.views.granularity import granularities
from orchestrator.leaderboard.views.hours import device_hours
from trainers.results import Profile


def row(method: str, trainable: int | None, average: float | None, **costs: Any) -> Row:
    return Row(
        method=method,
        implementation=method,
        capacity={},
        trainable=trainable,
        counts=None,
        model=costs.pop("model", "tiny"),
        tasks={},
        average=average,
        runs=(),
        **costs,
    )


def front(rows: list[Row], cost: str = "trainable") -> list[str]:
    (found,) = [f for f in fronts_of(rows) if f.cost == cost]
    return list(found.rows)


def test_a_front_leaves_out_what_is_dearer_and_no_better() -> None:
    rows = [row("best", 100, 0.9), row("dear", 200, 0.9), row("small", 10, 0.5), row("bad", 50, 0.4), row("free", 0, 0.1)]
    assert front(rows) == ["free", "small", "best"]


def test_equal_rows_do_not_beat_each_other() -> None:
    assert front([row("one", 10, 0.5), row("two", 10, 0.5), row("three", 10, 0.4), row("four", 20, 0.5)]) == ["one", "two"]


def test_only_rows_with_cost_and_average_are_on_a_front() -> None:
    rows = [row("unknown", None, 0.9), row("incomplete", 5, None), row("known", 10, 0.5, peak_bytes=7)]
    assert front(rows) == ["known"]
    assert front(rows, "peak_bytes") == ["known"]
    assert {found.cost for found in fronts_of(rows)} == {"trainable", "peak_bytes"}
    assert fronts_of([row("incomplete", 5, None)]) == ()


def test_base_models_have_fronts_of_their_own() -> None:
    found = fronts_of([row("a", 10, 0.9), row("b", 5, 0.1, model="wide"), row("b", 20, 0.1, model="wide")])
    assert [(f.model, f.rows) for f in found] == [("tiny", ("a",)), ("wide", ("b",))]


def test_granularity_is_the_median_ratio_of_neighbouring_sizes() -> None:
    sizes = granularities([row("m", 10, None), row("m", 40, None), row("m", 20, None), row("m", 400, None), row("base", 0, 0.1)])
    (found,) = sizes
    assert (found.method, found.sizes, found.smallest, found.step) == ("m", (10, 20, 40, 400), 10, 2.0)
    assert granularities([row("one", 10, None)])[0].step is None


def test_device_hours_count_every_trial_and_its_workers(sweep: Any) -> None:
    sweep.change(sweep.find("report", "plain", seed=1), status="diverged", ended=1000.0 + 3600)
    sweep.change(sweep.find("report", "base"), environment={"execution": {"workers": 4}})
    hours = device_hours(sweep.recorded())
    minute = 1 / 60
    # Two tasks of two points and three report seeds, a minute each; one of them took an hour.
    assert hours["plain"] == pytest.approx(9 * minute + 1)
    assert hours["thin"] == pytest.approx(20 * minute)
    assert hours["base"] == pytest.approx(minute + 4 * minute)


def test_a_packed_trial_takes_what_it_computes_and_not_what_it_waits_for_others(sweep: Any) -> None:
    trial = sweep.find("report", "plain", seed=1)
    before = device_hours(sweep.recorded())["plain"]
    sweep.change(trial, environment={"execution": {"packed": 8}}, profile=Profile(train_seconds=30))
    assert device_hours(sweep.recorded())["plain"] == pytest.approx(before - 30 / 3600), "half of its minute it waited"
