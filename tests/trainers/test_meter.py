"""Operations of a step, against counts by hand."""

import math
from typing import Any

import pytest
import torch

from trainers.adapters.convolution import Cyclic, Negacyclic, Padded
from trainers.meter import Meter


def flops_of(function: Any) -> float | None:
    meter = Meter()
    with meter.step(count_operations=True):
        function()
    return meter.flops


@pytest.mark.parametrize("size", [8, 12, 7])
def test_fourier_transforms_are_counted(size: int) -> None:
    rows, real = 3, round(2.5 * 3 * size * math.log2(size))
    signal, spectrum = torch.randn(rows, size), torch.randn(rows, size, dtype=torch.complex64)
    assert flops_of(lambda: torch.fft.rfft(signal)) == real
    assert flops_of(lambda: torch.fft.irfft(spectrum[:, : size // 2 + 1], n=size)) == real
    assert flops_of(lambda: torch.fft.fft(spectrum)) == round(5 * rows * size * math.log2(size))
    assert flops_of(lambda: torch.fft.ifft(spectrum, dim=0)) == round(5 * rows * size * math.log2(rows))
    assert flops_of(lambda: torch.fft.fft2(spectrum)) == round(5 * rows * size * math.log2(rows * size))
    assert flops_of(lambda: torch.fft.rfft(signal[:, :1])) == 0


def test_the_products_of_structured_matrices_are_counted_in_both_directions() -> None:
    x, size = torch.randn(5, 16, requires_grad=True), 16
    once = {Cyclic: 2.5 * 16 * 4, Negacyclic: 5 * 8 * 3, Padded: 2.5 * 32 * 5}
    for kind, transform in once.items():
        family: Any = kind(size)
        assert flops_of(lambda family=family: family.signal(family.spectrum(x))) == 5 * 2 * transform
        assert flops_of(lambda family=family: family.signal(family.spectrum(x)).sum().backward()) == 5 * 4 * transform


def test_matrix_products_are_counted_as_before() -> None:
    assert flops_of(lambda: torch.randn(2, 3) @ torch.randn(3, 4)) == 2 * 2 * 3 * 4
