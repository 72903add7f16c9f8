"""The value that continues an axis: its spacing goes on, and it stays within what the axis can take."""

from __future__ import annotations

import pytest

from search_spaces.domains import IntUniform, LogUniform, Range, Uniform
from search_spaces.grid import is_value, limits
from search_spaces.spacing import bound_beyond, step_beyond


@pytest.mark.parametrize(
    ("axis", "values", "low", "high"),
    [
        ("learning_rate", (2e-3, 2e-2, 2e-1), 2e-4, 2.0),
        ("learning_rate", (1e-4, 3e-4, 1e-3), 3e-5, 3e-3),
        ("learning_rate", (1e-4, 3e-4, 1e-3, 3e-3), 3e-5, 1e-2),
        ("learning_rate", (1e-4, 3.162e-4, 1e-3, 3.162e-3, 1e-2), 3.162e-5, 3.162e-2),
        ("learning_rate", (1e-4, 1e-3, 3e-3), 1e-5, 9e-3),
        ("scale", (0.5, 1, 2), 0.25, 4),
        ("epochs", (2.0, 4.0, 6.0, 8.0), 1.0, 10.0),
        ("steps", (10, 20, 40), 5, 80),
        ("batch_size", (8, 16, 32), 4, 64),
        ("weight_decay", (0.05, 0.15, 0.25), 0.0, 0.35),
        ("dropout", (0.1, 0.2, 0.3), 0.0, 0.4),
        ("dropout", (0.7, 0.8, 0.9), 0.6, 0.95),
        ("warmup_ratio", (0.5, 0.75, 0.9), 0.25, 1.0),
    ],
)
def test_the_spacing_goes_on_within_what_the_axis_can_take(axis: str, values: tuple[float, ...], low: float, high: float) -> None:
    found = step_beyond(axis, values, "low"), step_beyond(axis, values, "high")
    assert found == (low, high)
    assert all(is_value(axis, value) for value in found)


def test_a_linear_learning_rate_does_not_reach_zero() -> None:
    assert step_beyond("learning_rate", (1e-3, 2e-3, 3e-3), "low") == 5e-4


def test_limits_are_those_of_the_sweep_file() -> None:
    assert limits("dropout") == (0, 1)
    assert limits("steps")[0] == 1
    assert limits("clip") == (0, float("inf"))


@pytest.mark.parametrize(
    ("axis", "domain", "low", "high"),
    [
        ("learning_rate", LogUniform(1e-5, 1e-1), 1e-6, 1.0),
        ("learning_rate", Uniform(0.1, 0.5), 0.05, 0.6),
        ("weight_decay", Uniform(0.02, 0.2), 0.0, 0.245),
        ("dropout", Uniform(0.1, 0.9), 0.0, 0.95),
        ("batch_size", IntUniform(4, 16), 1, 19),
        ("batch_size", IntUniform(3, 4), 2, 5),
    ],
)
def test_a_domain_is_widened_by_a_quarter_on_its_own_scale_within_what_the_axis_takes(
    axis: str, domain: Range, low: float, high: float
) -> None:
    assert bound_beyond(axis, domain, "low") == pytest.approx(low)
    assert bound_beyond(axis, domain, "high") == pytest.approx(high)
