"""Products with structured matrices against dense ones, gradients included."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from trainers.adapters import displacement
from trainers.adapters.convolution import Cyclic, Negacyclic, Padded, SharedSpectrum, toeplitz_matrix, toeplitz_spectrum
from trainers.adapters.displacement import DisplacementProduct


def circulant(column: Tensor) -> Tensor:
    """Column k is the first one, rolled down k times."""
    return torch.stack([column.roll(k) for k in range(len(column))], 1)


def skew_circulant(column: Tensor) -> Tensor:
    """The same, with the part that wraps around negated."""
    return circulant(column) * (torch.ones(len(column), len(column), dtype=column.dtype).tril() * 2 - 1)


@given(size=st.integers(2, 40), rows=st.integers(1, 3), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_transforms_multiply_like_dense_matrices_and_so_do_their_gradients(size: int, rows: int, seed: int) -> None:
    """Odd, even and prime sizes."""
    generator = torch.Generator().manual_seed(seed)
    x, weights = (torch.randn(rows, size, dtype=torch.float64, generator=generator) for _ in range(2))
    x.requires_grad_()
    families: list[tuple[Any, Callable[[Tensor], Tensor], int]] = [
        (Cyclic(size), circulant, size),
        (Negacyclic(size), skew_circulant, size),
        (Padded(size), toeplitz_matrix, 2 * size - 1),
    ]
    for transform, dense, length in families:
        kernel = torch.randn(length, dtype=torch.float64, generator=generator).requires_grad_()
        spectrum = toeplitz_spectrum(kernel) if length > size else transform.spectrum(kernel)
        fast, wanted = transform.signal(transform.spectrum(x) * spectrum), x @ dense(kernel).T
        assert torch.allclose(fast, wanted, rtol=0, atol=1e-10)
        given, expected = (torch.autograd.grad((product * weights).sum(), (x, kernel)) for product in (fast, wanted))
        assert all(torch.allclose(a, b, rtol=0, atol=1e-10) for a, b in zip(given, expected, strict=True))


@given(size=st.integers(2, 12), seed=st.integers(0, 99))
@settings(max_examples=20, deadline=None)
def test_matrices_are_those_of_scipy(size: int, seed: int) -> None:
    column, row = np.random.default_rng(seed).normal(size=(2, size))
    row[0] = column[0]
    diagonals = torch.tensor(np.concatenate([row[:0:-1], column]))
    assert np.array_equal(toeplitz_matrix(diagonals).numpy(), scipy.linalg.toeplitz(column, row))
    assert np.array_equal(circulant(torch.tensor(column)).numpy(), scipy.linalg.circulant(column))


def test_a_shared_input_is_transformed_once() -> None:
    shared, x = SharedSpectrum(Cyclic(4)), torch.randn(2, 4)
    first = shared(x)
    assert shared(x) is first
    assert shared(x.clone()) is not first
    shared.clear()
    assert shared(x) is not first


@pytest.mark.parametrize("size", [6, 7])
@pytest.mark.parametrize("elements", [1, 60, 10_000])
def test_terms_add_up_in_pieces_of_any_size(monkeypatch: pytest.MonkeyPatch, size: int, elements: int) -> None:
    monkeypatch.setattr(displacement, "CACHED", elements)
    generator, cyclic, negacyclic = torch.Generator().manual_seed(0), Cyclic(size), Negacyclic(size)
    shapes = [(3, 5, size), (4, size), (4, size), (3, 5, size)]
    x, columns, skew, weights = (torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_() for shape in shapes)
    spectra = cyclic.spectrum(columns), negacyclic.spectrum(skew)
    fast: Any = DisplacementProduct.apply(x, *spectra, cyclic, negacyclic)  # type: ignore[no-untyped-call]
    wanted = x @ sum(circulant(c) @ skew_circulant(s) for c, s in zip(columns, skew, strict=True)).T
    assert torch.allclose(fast, wanted, rtol=0, atol=1e-12)
    given, expected = (torch.autograd.grad((product * weights).sum(), (x, columns, skew)) for product in (fast, wanted))
    assert all(torch.allclose(a, b, rtol=0, atol=1e-11) for a, b in zip(given, expected, strict=True))
