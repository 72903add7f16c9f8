"""Studies without trials: what is asked for, given scores."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import study as studies
from orchestrator.sampling import Point
from orchestrator.study import Study, asked, start_points
from orchestrator.study_plan import StudyPlan

DOMAIN = {"learning_rate": {"log_uniform": [1e-6, 1e-1]}, "weight_decay": {"uniform": [0.0, 0.1]}, "clip": [None, 1.0]}


def planned(**changes: Any) -> StudyPlan:
    defaults = {"version": "5.0.0", "sampler": "tpe", "trials": 18, "startup": 6, "batch": 4, "seed": 0, "select_seeds": (100,)}
    return StudyPlan.model_validate({**defaults, "domain": DOMAIN, **changes})


def score(point: Point) -> float:
    """Best at a learning rate of 1e-3; what is above 3e-2 diverges."""
    rate = float(point["learning_rate"] or 0)
    return math.nan if rate > 3e-2 else 1 - abs(math.log10(rate) + 3) / 5 - float(point["weight_decay"] or 0)


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every test asks optuna itself."""
    monkeypatch.setattr(studies, "_known", {})


@pytest.mark.parametrize("sampler", ["tpe", "random", "qmc"])
def test_another_process_asks_for_the_same_points(sampler: str) -> None:
    plan = planned(sampler=sampler)
    code = (
        "import math; from orchestrator.study import asked; from orchestrator.study_plan import StudyPlan; import sys; "
        "from tests.orchestrator.test_study import score; print(asked(StudyPlan.model_validate_json(sys.argv[1]), score))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, plan.model_dump_json()], capture_output=True, text=True, check=True, env=os.environ, cwd=os.getcwd()
    )
    assert done.stdout.strip() == str(asked(plan, score))
    assert done.stderr == "", "optuna is quiet"


def test_the_start_points_do_not_depend_on_scores_or_the_order_of_the_axes() -> None:
    start = start_points(planned())
    assert asked(planned(), score)[:6] == asked(planned(), lambda point: math.nan)[:6] == start
    turned = start_points(planned(domain=dict(reversed(DOMAIN.items()))))
    assert [dict(sorted(point.items(), key=str)) for point in turned] == [dict(sorted(point.items(), key=str)) for point in start]


def test_what_was_remembered_is_what_is_asked_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    first = asked(planned(), score)

    # One batch further with other scores: the earlier batches are remembered, the new ones are not.
    def other(point: Point) -> float:
        return score(point) if point in first[:10] else 0.1

    remembered = asked(planned(), other)
    monkeypatch.setattr(studies, "_known", {})
    assert asked(planned(), other) == remembered
    assert remembered[:14] == first[:14] and remembered[14:] != first[14:]


def test_the_scores_lead_the_search() -> None:
    here, there = asked(planned(trials=40), score), asked(planned(trials=40), lambda point: -score(point))
    good = [sum(score(point) > 0.8 for point in part) / len(part) for part in (here[:6], here[6:], there[6:])]
    assert good[1] > good[0] > good[2]
    assert here[:6] == there[:6] and here[6:] != there[6:]


def test_a_search_avoids_where_trials_diverge() -> None:
    diverged = [math.isnan(score(point)) for point in asked(planned(trials=60), score)]
    assert sum(diverged) > 0 and sum(diverged[30:]) < 8


def test_points_survive_being_written_to_a_file_and_lie_in_the_domain() -> None:
    plan = planned(trials=30)
    points = asked(plan, score)
    assert yaml.safe_load(yaml.safe_dump(list(points))) == list(points)
    assert all(plan.holds(point) for point in points)
    assert all(len(f"{point['learning_rate']:g}") <= len("1.23456e-06") for point in points)
    assert float(f"{points[0]['learning_rate']:.6g}") == points[0]["learning_rate"]


def test_a_small_domain_is_tried_at_different_points() -> None:
    plan = planned(trials=9, startup=3, batch=2, domain={"scale": [0.5, 1.0, 2.0], "clip": [None, 0.5, 1.0]})
    points = asked(plan, lambda point: 1.0 if point["scale"] == 1.0 else 0.0)
    assert len({tuple(point.items()) for point in points}) == 9


def test_a_batch_is_told_as_a_whole() -> None:
    study = Study(planned())
    known = study.points[:5]
    study.advance(lambda point: score(point) if point in known else None)
    assert len(study.points) == 6, "one score of the first batch is missing"
    study.advance(score)
    assert len(study.points) == 18 and study.complete


@given(st.permutations(range(18)))
def test_the_order_in_which_trials_end_changes_nothing(order: list[int]) -> None:
    plan = planned()
    expected, study, done = asked(plan, score), Study(plan), dict[int, float]()
    while not study.complete:
        # Whichever running trial comes first in the order ends next.
        ended = next(number for number in order if number not in done and number < len(study.points))
        done[ended] = score(study.points[ended])
        study.advance(lambda point: done.get(study.points.index(point)))
    assert tuple(study.points) == expected


def test_a_domain_narrower_than_its_digits_ends() -> None:
    points = asked(planned(trials=5, startup=2, batch=2, domain={"dropout": {"uniform": [0.1, 0.1000001]}}), lambda point: 0.5)
    assert len(points) == 5
