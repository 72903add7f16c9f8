"""Successive halving in the sweep file: where the rungs are, and what cannot be halved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.halving import HalvingSection, evaluation_steps, rung_steps
from search_spaces.loading import load_spec

FaultsOf = Callable[..., dict[str, str]]
HALVED = (
    "halving={reduction: 3, min_steps: 100}",
    "training={steps: 900, checkpoint: {evaluations: 9}}",
    "grid.learning_rate=[1e-4, 1e-3, 1e-2]",
)


def test_the_rungs_are_the_first_evaluations_at_or_after_powers_of_the_reduction() -> None:
    assert rung_steps(HalvingSection(reduction=3, min_steps=100), 900, 9) == (100, 300)
    assert rung_steps(HalvingSection(reduction=3, min_steps=90), 900, 9) == (100, 300, 900)[:2]
    assert rung_steps(HalvingSection(reduction=2, min_steps=10), 100, 4) == (25, 50)
    assert rung_steps(HalvingSection(reduction=3, min_steps=100), 900, 1) == ()
    assert rung_steps(HalvingSection(reduction=3, min_steps=900), 900, 9) == ()


@given(st.integers(1, 5000), st.integers(1, 60), st.integers(2, 6), st.integers(1, 3000))
def test_rungs_are_evaluations_below_the_full_length_and_far_enough(steps: int, evaluations: int, reduction: int, least: int) -> None:
    rungs = rung_steps(HalvingSection(reduction=reduction, min_steps=least), steps, evaluations)
    assert list(rungs) == sorted(set(rungs))
    assert set(rungs) <= set(evaluation_steps(steps, evaluations)) - {steps}
    assert all(step >= least for step in rungs)


@given(st.integers(0, 5000), st.integers(1, 60))
def test_evaluations_end_with_the_last_step(steps: int, evaluations: int) -> None:
    found = evaluation_steps(steps, evaluations)
    assert found[-1] == steps and len(found) <= evaluations and list(found) == sorted(set(found))


def test_a_halved_sweep_is_read(sweep_file: Path) -> None:
    assert load_spec(sweep_file, HALVED).halving == HalvingSection(reduction=3, min_steps=100)
    assert load_spec(sweep_file, (*HALVED, "halving=null")).halving is None


@pytest.mark.parametrize(
    ("override", "path", "words"),
    [
        ("halving={reductoin: 3}", "halving.reductoin", "Did you mean 'reduction'?"),
        ("halving.reduction=1", "halving.reduction", "greater than or equal to 2"),
        ("halving.min_steps=0", "halving.min_steps", "greater than or equal to 1"),
        ("halving.min_steps=900", "training.checkpoint.evaluations", "no evaluation of 900 steps lies at or after step 900"),
        ("training={epochs: 3}", "training", "halving needs the length of a trial in steps"),
        ("training.checkpoint=last", "training.checkpoint.evaluations", "write more evaluations"),
        ("tasks={squad: {training: {epochs: 2}}}", "tasks.squad.training", "halving needs the length of a trial in steps"),
        ("tasks={squad: {training: {steps: 100}}}", "tasks.squad.training.checkpoint.evaluations", "before the end"),
        ("grid.batch_size=[4, 8]", "grid.batch_size", "points of different length"),
        ("grid.learning_rate=[1e-3, 1e-2]", "halving.reduction", "3 is more than the 2 points of the grid"),
        ("search={algorithm: optuna, trials: 8}", "halving", "only a grid is halved"),
    ],
)
def test_what_cannot_be_halved_is_told(faults_of: FaultsOf, override: str, path: str, words: str) -> None:
    found = faults_of(*HALVED, override)
    assert words in found[path], found
