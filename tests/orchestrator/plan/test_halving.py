"""How far the trials of a cell go: the rungs, who survives them, and what a failure does to them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.halving import Rung, Rungs, Standing, Verdict, bracket_of, verdicts
from search_spaces.halving import HalvingSection
from search_spaces.trial import Checkpointing, Training
from trainers.results import Status

RUNGS = Rungs((Rung(10, 9, 3), Rung(30, 3, 1)), 90, 9)


def training(steps: int = 90, evaluations: int = 9) -> Training:
    content = {"batch_size": 4, "optimizer": "adamw", "betas": (0.9, 0.99), "eps": 1e-8, "weight_decay": 0.0, "scheduler": "linear"}
    content |= {"warmup_ratio": 0.0, "clip": None, "dropout": 0.0, "max_length": 64}
    return Training(**content, learning_rate=0.1, steps=steps, checkpoint=Checkpointing(evaluations=evaluations))  # type: ignore[arg-type]


def standing(number: int, scores: Mapping[int, float] | None = None, ended: Status | None = None, seed: int = 100) -> Standing:
    """The trial of the number-th point; a higher score has a lower loss."""
    found = {step: (score, 1 - score) for step, score in (scores or {}).items()}
    return Standing((("learning_rate", 10.0 ** (number - 9)),), seed, found, ended)


def cell(at_first: list[float], at_second: Mapping[int, float] | None = None) -> dict[str, Standing]:
    second = at_second or {}
    return {str(n): standing(n, {10: score, **({30: second[n]} if n in second else {})}) for n, score in enumerate(at_first)}


def test_rungs_follow_from_the_sweep_file_and_give_up_something_each() -> None:
    section = HalvingSection(reduction=3, min_steps=10)
    assert Rungs.of(section, training(), 9) == RUNGS
    # With two points left of eight, a third rung would give up nothing.
    assert Rungs.of(section, training(), 4).rungs == (Rung(10, 4, 1),)
    assert RUNGS.steps == 6 * 10 + 2 * 30 + 90 and RUNGS.full_steps == 9 * 90


@given(st.integers(2, 200), st.integers(2, 5), st.integers(1, 60), st.integers(2, 30))
def test_the_steps_are_those_that_the_survivors_take(points: int, reduction: int, least: int, evaluations: int) -> None:
    rungs = Rungs.of(HalvingSection(reduction=reduction, min_steps=least), training(120, evaluations), points)
    left, before, total = points, 0, 0
    for rung in rungs.rungs:
        assert rung.points == left > rung.survivors >= 1
        total, before, left = total + left * (rung.step - before), rung.step, rung.survivors
    assert rungs.steps == total + left * (120 - before) <= rungs.full_steps


def test_nobody_goes_on_before_all_have_come() -> None:
    known = cell([0.1] * 9) | {"4": standing(4)}
    assert set(verdicts(RUNGS, known).values()) == {Verdict(10, is_open=True)}


def test_the_best_go_on_and_the_others_end_at_the_rung() -> None:
    found = verdicts(RUNGS, cell([0.1, 0.9, 0.2, 0.8, 0.3, 0.7, 0.0, 0.1, 0.2]))
    assert {name for name, verdict in found.items() if not verdict.is_out} == {"1", "3", "5"}
    assert found["1"] == Verdict(30, is_open=True) and found["0"] == Verdict(10, is_out=True)
    found = verdicts(RUNGS, cell([0.1, 0.9, 0.2, 0.8, 0.3, 0.7, 0.0, 0.1, 0.2], {1: 0.5, 3: 0.6, 5: 0.4}))
    assert found["3"] == Verdict(90) and found["1"] == found["5"] == Verdict(30, is_out=True)


def test_ties_go_to_the_smaller_learning_rate_as_in_the_selection() -> None:
    found = verdicts(RUNGS, cell([0.5] * 9))
    assert [name for name, verdict in found.items() if not verdict.is_out] == ["0", "1", "2"]


@pytest.mark.parametrize("status", ["error", "diverged", "out_of_memory"])
def test_a_trial_that_fails_leaves_its_rung_and_keeps_nobody_waiting(status: Status) -> None:
    found = verdicts(RUNGS, cell([0.9] * 9) | {"0": standing(0, ended=status)})
    assert [name for name, verdict in found.items() if not verdict.is_out] == ["1", "2", "3"]
    # One that passed the first rung and failed on the way to the second.
    known = cell([0.9, 0.8, 0.7] + [0.1] * 6, {1: 0.3, 2: 0.4}) | {"0": standing(0, {10: 0.9}, status)}
    found = verdicts(RUNGS, known)
    assert found["2"] == Verdict(90) and found["1"].is_out


def test_where_all_survivors_fail_nobody_takes_their_place() -> None:
    known = cell([0.1] * 9) | {str(n): standing(n, {10: 0.9}, "diverged") for n in (0, 1, 2)}
    found = verdicts(RUNGS, known)
    assert all(verdict == Verdict(10, is_out=True) for name, verdict in found.items() if name not in "012")


def test_the_seeds_of_a_point_move_together_by_their_mean() -> None:
    scores = {0: (0.9, 0.1), 1: (0.6, 0.6), 2: (0.7, 0.2)}
    known = {f"{n}/{seed}": standing(n, {10: score[seed]}, seed=seed) for n, score in scores.items() for seed in (0, 1)}
    rungs = Rungs((Rung(10, 3, 1),), 90, 3)
    found = verdicts(rungs, known)
    assert {name for name, verdict in found.items() if not verdict.is_out} == {"1/0", "1/1"}
    found = verdicts(rungs, known | {"1/0": standing(1, ended="error", seed=0)})
    assert {name for name, verdict in found.items() if not verdict.is_out} == {"0/0", "0/1"}


@given(st.permutations(range(9)), st.integers(0, 9))
def test_the_verdict_does_not_depend_on_who_came_first(order: list[int], known: int) -> None:
    scores = [0.1, 0.9, 0.2, 0.8, 0.3, 0.7, 0.0, 0.1, 0.2]
    came = {str(n): standing(n, {10: scores[n]} if n in order[:known] else {}) for n in range(9)}
    found = verdicts(RUNGS, came)
    assert all(verdict.is_open for verdict in found.values()) or known == 9
    assert (found == verdicts(RUNGS, cell(scores))) == (known == 9)


def test_the_bracket_names_all_that_trials_compete_under() -> None:
    section, points = HalvingSection(), [{"learning_rate": 0.1}, {"learning_rate": 0.2}]
    assert bracket_of(None, points, [100]) == ""
    names = {bracket_of(section, points, [100]), bracket_of(section, points[:1], [100]), bracket_of(section, points, [100, 101])}
    assert len(names | {bracket_of(HalvingSection(reduction=2), points, [100])}) == 4
