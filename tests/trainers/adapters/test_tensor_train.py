"""Shapes of tensor trains, and their contraction against the full tensor."""

import math
from collections.abc import Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from search_spaces.errors import CapacityError
from trainers.adapters.tensor_shapes import CLASSIFIER, PUBLISHED, balanced_digits, classifier_digits, digits_of
from trainers.adapters.tensor_train import TensorTrain, apply_halves


def dense(cores: Sequence[Tensor], rows: int, columns: int) -> Tensor:
    """The full tensor, reshaped to a matrix."""
    tensor = cores[0]
    for core in cores[1:]:
        tensor = torch.tensordot(tensor, core, dims=([-1], [0]))
    return tensor.reshape(rows, columns)


WRONG = [*((32, size) for size in (1024, 1280, 1536, 1600, 4096, 5120, 8192)), (64, 2304)]
"""Published lists whose product is not the matrix's size, by bottleneck and size of the other side."""


@pytest.mark.parametrize(("bottleneck", "size"), [(bottleneck, size) for bottleneck in PUBLISHED for size in PUBLISHED[bottleneck]])
def test_published_lists_are_taken_where_they_fit_and_refused_with_a_valid_one_where_not(bottleneck: int, size: int) -> None:
    digits, expected = PUBLISHED[bottleneck][size], size * bottleneck
    if (bottleneck, size) not in WRONG:
        assert digits_of("m", size, bottleneck) == digits
        assert math.prod(digits) == expected
        return
    with pytest.raises(CapacityError, match=f"its product is {math.prod(digits)}, not {expected}. Valid: shape: ") as caught:
        digits_of("m", size, bottleneck)
    valid = [int(digit) for digit in str(caught.value).partition("Valid: shape: [")[2].rstrip("]").split(",")]
    assert digits_of("m", size, bottleneck, valid) == tuple(valid)


def test_published_classifiers_are_taken_where_they_fit() -> None:
    for size, digits in CLASSIFIER.items():
        if size == 5120:
            with pytest.raises(CapacityError, match="is the published shape of a 5120 x 5120 classifier, but its product is 3276800"):
                classifier_digits("m", size)
        else:
            assert classifier_digits("m", size) == digits
            assert math.prod(digits) == size * size


@pytest.mark.parametrize(
    ("size", "digits"),
    [(16, (4, 4)), (576, (12, 8, 6)), (1536, (16, 12, 8)), (2048, (16, 16, 8)), (11008, (43, 16, 16)), (7, (7,)), (2, (2,))],
)
def test_balanced_digits(size: int, digits: tuple[int, ...]) -> None:
    assert balanced_digits(size, 2) == digits


@given(size=st.integers(1, 20_000), least=st.integers(1, 3))
@settings(max_examples=80, deadline=None)
def test_balanced_digits_multiply_to_the_size(size: int, least: int) -> None:
    digits = balanced_digits(size, least)
    primes = [p for p in range(2, size + 1) if size % p == 0 and all(p % q for q in range(2, math.isqrt(p) + 1))]
    assert math.prod(digits) == size
    assert list(digits) == sorted(digits, reverse=True)
    assert all(2 <= digit <= max(16, *primes, 2) for digit in digits)


@given(data=st.data(), rows=st.integers(1, 24), columns=st.integers(1, 24), rank=st.integers(1, 5), count=st.integers(1, 3))
@settings(max_examples=60, deadline=None)
def test_halves_and_matrices_are_those_of_the_full_tensor(data: st.DataObject, rows: int, columns: int, rank: int, count: int) -> None:
    """Also for digits that straddle the border of rows and columns."""
    digits = tuple(data.draw(st.permutations(balanced_digits(rows * columns, data.draw(st.integers(1, 4))) or (1,))))
    train = TensorTrain(count, rows, columns, digits, rank).double()
    train.initialise(torch.Generator().manual_seed(0))
    x = torch.randn(3, 2, rows, dtype=torch.float64)
    for index, (matrix, halves) in enumerate(zip(train.matrices(), train.halves(), strict=True)):
        wanted = dense([core[index] for core in train.cores], rows, columns)
        assert torch.allclose(matrix, wanted, rtol=0, atol=1e-12)
        assert torch.allclose(apply_halves(x, halves), x @ wanted, rtol=0, atol=1e-12)


def test_entries_start_with_the_published_variance() -> None:
    train = TensorTrain(64, 96, 32, (12, 8, 8, 4), 6)
    train.initialise(torch.Generator().manual_seed(0))
    assert float(train.matrices().detach().var()) == pytest.approx(1 / (96 + 32), rel=0.1)
