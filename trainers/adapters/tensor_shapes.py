"""Shapes of tensor trains: into which digits the row-major index of a matrix is split.

The lists of bottlenecks 5 to 64 and of the classifier are those of LoRETTA (yifanycc/loretta@c66bbb3 loretta/utils/tensor_util.py),
errors included: the product of some is not the size of the matrix, which `checked` refuses. The column of 2048 is ours; upstream has
none. A matrix without a list gets a balanced one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import Any

from search_spaces.errors import CapacityError

Digits = tuple[int, ...]

WIDEST = 16
"""The largest digit of the published lists; balanced ones keep to it where the prime factors allow."""

PUBLISHED: Mapping[int, Mapping[int, Digits]] = {
    5: {
        768: (5, 8, 12, 8),
        1024: (4, 8, 5, 8, 4),
        1280: (4, 8, 5, 8, 5),
        1536: (4, 8, 5, 8, 6),
        1600: (5, 8, 5, 8, 5),
        2048: (16, 16, 8, 5),
        2304: (5, 8, 8, 4, 9),
        4096: (16, 16, 5, 4, 4),
        5120: (5, 8, 10, 8, 8),
        8192: (4, 16, 16, 10, 4),
    },
    8: {
        768: (8, 8, 12, 8),
        1024: (4, 8, 8, 8, 4),
        1280: (4, 8, 8, 8, 5),
        1536: (4, 8, 8, 8, 6),
        1600: (5, 8, 8, 8, 5),
        2048: (16, 16, 8, 8),
        2304: (8, 8, 8, 4, 9),
        4096: (16, 16, 8, 4, 4),
        5120: (8, 8, 10, 8, 8),
        8192: (4, 16, 16, 16, 4),
    },
    16: {
        768: (8, 16, 12, 8),
        1024: (4, 8, 16, 8, 4),
        1280: (4, 8, 16, 8, 5),
        1536: (4, 8, 16, 8, 6),
        1600: (5, 8, 16, 8, 5),
        2048: (16, 16, 8, 16),
        2304: (8, 8, 8, 8, 9),
        4096: (16, 16, 16, 4, 4),
        5120: (8, 16, 10, 8, 8),
        8192: (4, 16, 16, 16, 8),
    },
    32: {
        768: (4, 8, 12, 8, 8),
        1024: (4, 8, 16, 8, 4),
        1280: (4, 8, 16, 8, 5),
        1536: (4, 8, 16, 8, 6),
        1600: (5, 8, 16, 8, 5),
        2048: (16, 16, 8, 4, 8),
        2304: (8, 8, 16, 8, 9),
        4096: (16, 16, 16, 4, 4),
        5120: (8, 16, 10, 8, 8),
        8192: (4, 16, 16, 16, 8),
    },
    64: {
        768: (8, 8, 12, 8, 8),
        1024: (4, 8, 8, 8, 8, 4),
        1280: (4, 8, 8, 8, 8, 5),
        1536: (4, 8, 8, 8, 8, 6),
        1600: (5, 8, 8, 8, 8, 5),
        2048: (16, 16, 8, 8, 8),
        2304: (8, 8, 8, 8, 8, 9),
        4096: (16, 16, 16, 4, 4, 4),
        5120: (5, 8, 8, 16, 8, 8),
        8192: (4, 16, 16, 16, 8, 4),
    },
}
"""Bottleneck -> size of the other side -> digits; the same list serves both directions."""

CLASSIFIER: Mapping[int, Digits] = {
    768: (8, 8, 12, 12, 8, 8),
    1024: (4, 8, 8, 16, 8, 8, 4),
    1280: (4, 4, 8, 8, 8, 8, 5, 5),
    1536: (4, 4, 8, 8, 8, 8, 6, 6),
    1600: (5, 5, 8, 8, 8, 8, 5, 5),
    2048: (8, 16, 16, 16, 16, 8),
    2304: (4, 4, 8, 8, 8, 8, 9, 9),
    4096: (4, 4, 16, 16, 16, 16, 4, 4),
    5120: (8, 8, 8, 10, 10, 8, 8),
    8192: (4, 4, 16, 16, 16, 16, 8, 8),
}
"""Size of a square matrix -> digits."""


def digits_of(method: str, size: int, bottleneck: int, given: Sequence[Any] = ()) -> Digits:
    """Return the digits of a matrix between a wide side and a bottleneck: the given ones, else the published, else balanced ones.

    Raises:
        CapacityError: their product is not `size * bottleneck`; the message gives it, and a list that is valid.
    """
    balanced = (*balanced_digits(size, 2), *balanced_digits(bottleneck))
    published = PUBLISHED.get(bottleneck, {}).get(size, balanced)
    origin = "is not a shape of" if given else "is the published shape of"
    return _checked(tuple(given) or published, balanced, f"{method}: shape {{}} {origin} a {size} x {bottleneck} matrix")


def classifier_digits(method: str, size: int) -> Digits:
    """Return the digits of a square matrix in a classification head.

    Raises:
        CapacityError: the published list does not fit (5120).
    """
    half = balanced_digits(size, 2)
    balanced = (*half, *reversed(half))
    return _checked(CLASSIFIER.get(size, balanced), balanced, f"{method}: {{}} is the published shape of a {size} x {size} classifier")


def balanced_digits(size: int, least: int = 1) -> Digits:
    """Factorise a size into near-equal digits, largest first: as few as keep each within 16, or the largest prime factor.

    The prime factors, largest first, go to the digit that is smallest so far. 2048 -> 16, 16, 8; 576 -> 12, 8, 6; 1 -> nothing.

    Args:
        size: the number to factorise.
        least: the smallest number of digits, as far as there are prime factors.
    """
    primes = _prime_factors(size)
    widest = max([WIDEST, *primes])
    count = min(least, len(primes))
    while max(digits := _dealt(primes, count), default=1) > widest:
        count += 1
    return tuple(sorted(digits, reverse=True))


def _dealt(primes: Sequence[int], count: int) -> list[int]:
    digits = [1] * count
    for prime in primes:
        digits[digits.index(min(digits))] *= prime
    return digits


def largest_rank(digits: Digits) -> int:
    """Return the rank of the widest cut of a tensor: a tensor train of this rank holds every tensor of the shape."""
    return max(min(prod(digits[:cut]), prod(digits[cut:])) for cut in range(len(digits) + 1))


def _prime_factors(size: int) -> list[int]:
    factors, divisor = [], 2
    while size > 1:
        while size % divisor == 0:
            factors.append(divisor)
            size //= divisor
        divisor = divisor + 1 if divisor * divisor <= size else size
    return factors[::-1]


def _checked(digits: Digits, balanced: Digits, complaint: str) -> Digits:
    expected = prod(balanced)
    if any(isinstance(digit, bool) or not isinstance(digit, int) or digit < 1 for digit in digits):
        raise CapacityError(f"{complaint.format(list(digits))}: its digits must be whole numbers from 1. Valid: shape: {list(balanced)}")
    if prod(digits) != expected:
        raise CapacityError(
            f"{complaint.format(list(digits))}, but its product is {prod(digits)}, not {expected}. Valid: shape: {list(balanced)}"
        )
    return digits
