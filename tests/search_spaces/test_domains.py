"""Domains: their grid points, their samples, and what they refuse."""

from __future__ import annotations

import itertools
import math
from random import Random

import pytest

from search_spaces.domains import Choice, Domain, IntUniform, LogUniform, Uniform, domain_of


def test_points_span_the_bounds() -> None:
    assert Uniform(0.0, 1.0).points(3) == (0.0, 0.5, 1.0)
    assert IntUniform(1, 4).points(10) == (1, 2, 3, 4)
    assert Choice((3, 1, 2)).points() == (3, 1, 2)
    points = LogUniform(1e-5, 1e-2).points(4)
    assert (points[0], points[-1]) == (1e-5, 1e-2)
    assert all(math.isclose(b / a, 10) for a, b in itertools.pairwise(points))


def test_one_point_is_the_middle() -> None:
    assert Uniform(0.0, 1.0).points(1) == (0.5,)
    assert math.isclose(LogUniform(1e-4, 1e-2).points(1)[0], 1e-3)


@pytest.mark.parametrize("domain", [Choice((1, "a", None)), Uniform(-1.0, 2.0), LogUniform(1e-6, 1e-1), IntUniform(-3, 3)])
def test_samples_lie_in_the_domain_and_follow_the_seed(domain: Domain) -> None:
    samples = [domain.sample(generator) for generator in [Random(7)] for _ in range(200)]
    assert all(sample in domain for sample in samples)
    assert len(set(samples)) > 2
    again = Random(7)
    assert samples == [domain.sample(again) for _ in range(200)]


def test_a_log_uniform_domain_is_uniform_in_the_logarithm() -> None:
    generator = Random(0)
    domain = LogUniform(1e-6, 1e-2)
    below = sum(domain.sample(generator) < 1e-4 for _ in range(2000))
    assert 900 < below < 1100


def test_membership_is_not_fooled_by_truth_values_or_text() -> None:
    assert True not in IntUniform(0, 3)
    assert True not in Uniform(0, 3)
    assert "1" not in Uniform(0, 3)
    assert 2.5 not in IntUniform(0, 3)


@pytest.mark.parametrize(
    ("written", "words"),
    [
        ([], "at least one value"),
        ([1, 2, 1], "1 is listed more than once"),
        ([1, 1.0], "listed more than once"),
        (0.1, "not a list of values"),
        ("abc", "not a list of values"),
        ({"gauss": [0, 1]}, "not a list of values"),
        ({"uniform": [1, 0]}, "rising order"),
        ({"uniform": [0, math.inf]}, "finite"),
        ({"log_uniform": [0, 1]}, "above 0"),
        ({"int_uniform": [0.5, 2]}, "integers"),
    ],
)
def test_what_is_no_domain_is_refused(written: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        domain_of(written)


def test_ranges_are_read_by_their_names() -> None:
    assert domain_of({"log_uniform": [1e-5, 1e-2]}) == LogUniform(1e-5, 1e-2)
    assert domain_of({"uniform": [0, 1]}) == Uniform(0, 1)
    assert domain_of({"int_uniform": [1, 9]}) == IntUniform(1, 9)
