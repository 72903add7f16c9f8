"""Products with circulant, skew-circulant and Toeplitz matrices in O(n log n), forward and backward.

Shapes: n size, F frequencies, T rows.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Direction = Callable[[Tensor], Tensor]


class Transform:
    """A Fourier transform under which one family of matrices is diagonal: `M x = signal(spectrum(m) * spectrum(x))`.

    The gradient of `spectrum` is `signal` and that of `signal` is `spectrum`. They are each other's adjoints up to a weight per
    frequency, which cancels as long as whatever stands between the two acts on each frequency alone; torch's own gradients of real
    transforms take a complex transform of full length instead.

    Args:
        size: n.
    """

    def __init__(self, size: int) -> None:
        self.size = size

    def spectrum(self, x: Tensor) -> Tensor:
        """Return the spectrum (..., F) of x (..., n)."""
        spectrum: Tensor = _Adjoint.apply(x, self.analyse, self.synthesise)  # type: ignore[no-untyped-call]
        return spectrum

    def signal(self, spectrum: Tensor) -> Tensor:
        """Return x (..., n) from its spectrum (..., F)."""
        x: Tensor = _Adjoint.apply(spectrum, self.synthesise, self.analyse)  # type: ignore[no-untyped-call]
        return x

    def analyse(self, x: Tensor) -> Tensor:
        """Return the spectrum, without a graph."""
        raise NotImplementedError

    def synthesise(self, spectrum: Tensor) -> Tensor:
        """Return x from its spectrum, without a graph."""
        raise NotImplementedError


class Cyclic(Transform):
    """Diagonalises circulant matrices, `C[p, q] = c[(p - q) mod n]`."""

    def analyse(self, x: Tensor) -> Tensor:
        """Return the n // 2 + 1 frequencies of a real signal."""
        return _rfft(x, self.size)

    def synthesise(self, spectrum: Tensor) -> Tensor:
        """Return the signal; an odd n does not follow from F and is given."""
        return _irfft(spectrum, self.size)


class Negacyclic(Transform):
    """Diagonalises skew-circulant matrices, `S[p, q] = s[p - q]` for p >= q and `-s[n + p - q]` otherwise.

    They multiply modulo x^n + 1. For even n this has the factor x^{n/2} - i (the other one is its conjugate), modulo which real signals
    are complex ones of half the length, cyclic after a twist by e^{iπ j/n}; for odd n, x -> -x leads back to the cyclic case.
    """

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._twists: dict[tuple[torch.device, torch.dtype], Tensor] = {}

    def analyse(self, x: Tensor) -> Tensor:
        """Return n / 2 complex frequencies, or (n + 1) / 2 for odd n."""
        half, twist = self.size // 2, self._twist(x.device, x.dtype)
        if self.size % 2:
            return _rfft(x * twist, self.size)
        folded: Tensor = torch.fft.fft(torch.complex(x[..., :half], x[..., half:]) * twist)
        return folded

    def synthesise(self, spectrum: Tensor) -> Tensor:
        """Return the signal."""
        twist = self._twist(spectrum.device, spectrum.real.dtype)
        if self.size % 2:
            return _irfft(spectrum, self.size).mul_(twist)
        folded = torch.fft.ifft(spectrum).mul_(twist.conj())
        return torch.cat([folded.real, folded.imag], -1)

    def _twist(self, device: torch.device, dtype: torch.dtype) -> Tensor:
        """Return e^{iπ j/n} for j < n / 2, or the signs (-1)^j for odd n."""
        key = (device, dtype)
        if key not in self._twists:
            if self.size % 2:
                exact = 1.0 - 2.0 * (torch.arange(self.size) % 2).double()
            else:
                angles = torch.arange(self.size // 2).double() * (math.pi / self.size)
                exact = torch.polar(torch.ones_like(angles), angles)
            self._twists[key] = exact.to(device, dtype.to_complex() if exact.is_complex() else dtype)
        return self._twists[key]


class Padded(Cyclic):
    """Multiplies by Toeplitz matrices, which are corners of circulant ones of size 2 n; see `toeplitz_spectrum`."""

    def analyse(self, x: Tensor) -> Tensor:
        """Return the n + 1 frequencies of x with n zeros behind it."""
        return _rfft(x, 2 * self.size)

    def synthesise(self, spectrum: Tensor) -> Tensor:
        """Return the first n elements."""
        return _irfft(spectrum, 2 * self.size)[..., : self.size]


def toeplitz_spectrum(diagonals: Tensor) -> Tensor:
    """Return the spectrum (..., n + 1) of Toeplitz matrices `T[p, q] = t[p - q]`, for `Padded`.

    Args:
        diagonals: (..., 2 n - 1), t from -(n - 1), the upper right corner, to n - 1.
    """
    size = (diagonals.shape[-1] + 1) // 2
    column = torch.cat([diagonals[..., size - 1 :], torch.zeros_like(diagonals[..., :1]), diagonals[..., : size - 1]], -1)
    return Cyclic(2 * size).spectrum(column)


def toeplitz_matrix(diagonals: Tensor) -> Tensor:
    """Return the dense matrix (n, n) of diagonals (2 n - 1): for merging and tests."""
    size = (len(diagonals) + 1) // 2
    place = torch.arange(size, device=diagonals.device)
    return diagonals[place[:, None] - place + size - 1]


class SharedSpectrum:
    """Transforms an input, once for all the matrices that read the same tensor."""

    def __init__(self, transform: Transform) -> None:
        self.transform = transform
        self._source: Tensor | None = None
        self._spectrum: Tensor | None = None

    def __call__(self, x: Tensor) -> Tensor:
        """Return the spectrum of x."""
        if self._spectrum is None or self._source is not x:
            self._source, self._spectrum = x, self.transform.spectrum(x)
        return self._spectrum

    def clear(self) -> None:
        """Let go of the last tensor."""
        self._source = self._spectrum = None


class _Adjoint(torch.autograd.Function):
    """One direction of a transform; the backward pass is its other direction (see `Transform`)."""

    @staticmethod
    def forward(context: Any, x: Tensor, there: Direction, back: Direction) -> Tensor:
        context.back = back
        return there(x)

    @staticmethod
    @once_differentiable
    def backward(context: Any, gradient: Tensor) -> tuple[Tensor, None, None]:
        return context.back(gradient), None, None


def _rfft(x: Tensor, size: int) -> Tensor:
    spectrum: Tensor = torch.fft.rfft(x, n=size)
    return spectrum


def _irfft(spectrum: Tensor, size: int) -> Tensor:
    x: Tensor = torch.fft.irfft(spectrum, n=size)
    return x
