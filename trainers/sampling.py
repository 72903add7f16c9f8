"""Which examples a trial uses, and in which order: the same for every method."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from search_spaces.trial import digest


@dataclass(frozen=True)
class SplitIndices:
    """Rows of the two pools, in the order of their permutation."""

    train: tuple[int, ...]
    """Rows of the train pool."""
    selection: tuple[int, ...]
    """Rows of the train pool, none of which is in `train`."""
    test: tuple[int, ...]
    """Rows of the test pool."""


def split_indices(n_train_pool: int, n_test_pool: int, train: int, selection: int, test: int, seed: int) -> SplitIndices:
    """Pick the examples of the three splits.

    The protocol is that of the MeZO and LoReTTA code: the first `train + selection` of a permutation of the train pool, the last
    `selection` of them being the selection split; and the first `test` of a permutation of the test pool with the same seed. In a
    pool that is too small the selection split keeps its size and the train split shrinks.

    Args:
        n_train_pool: rows of the train pool.
        n_test_pool: rows of the test pool.
        train: largest number of training examples.
        selection: largest number of selection examples.
        test: largest number of test examples.
        seed: seed of numpy's legacy generator, used anew for each pool.
    """
    drawn = _permutation(n_train_pool, seed)[: train + selection]
    kept = max(0, len(drawn) - selection)
    return SplitIndices(tuple(drawn[:kept]), tuple(drawn[kept:]), tuple(_permutation(n_test_pool, seed)[:test]))


POOL_BATCHES = 50
"""Batches whose examples are sorted by length together: enough that neighbours are alike, few enough that an epoch stays in disorder."""


def batch_indices(count: int, batch_size: int, steps: int, seed: int, lengths: Sequence[int] | None = None) -> list[list[int]]:
    """Return the examples of every optimiser step: one permutation per epoch, cut into batches of equal size.

    A batch that the end of an epoch would leave short runs on into the next epoch, so every example is seen equally often, up to
    one, and every step has the same number of examples.

    With lengths, examples of similar length share a batch. What an epoch adds to the batch that the epoch before left short, and what it
    leaves over itself, are the first and the last examples of its permutation. The others are cut into pools of `POOL_BATCHES` batches;
    a pool is sorted by length, equal ones staying in the order of the permutation, and its batches are put in random order.

    Args:
        count: number of training examples.
        batch_size: examples per step.
        steps: number of steps.
        seed: seed of the order; epoch e draws from its own generator, `PCG64([seed, e])`.
        lengths: of the examples, in tokens, for batches of similar length; None takes the permutation as it is.
    """
    if not count:
        return []
    needed = batch_size * steps
    stream: list[int] = []
    for epoch in range(-(-needed // count)):
        generator = np.random.Generator(np.random.PCG64([seed, epoch]))
        order: list[int] = generator.permutation(count).tolist()
        stream += order if lengths is None else _bucketed(order, batch_size, -len(stream) % batch_size, lengths, generator)
    return [stream[start : start + batch_size] for start in range(0, needed, batch_size)]


def _bucketed(order: list[int], size: int, lacking: int, lengths: Sequence[int], generator: np.random.Generator) -> list[int]:
    """Return an epoch's permutation with its whole batches made of examples of similar length.

    Args:
        lacking: examples that the last batch of the epoch before still needs.
    """
    first = min(lacking, len(order))
    last = first + (len(order) - first) // size * size
    sorted_batches: list[int] = []
    for start in range(first, last, POOL_BATCHES * size):
        pool = sorted(order[start : min(start + POOL_BATCHES * size, last)], key=lengths.__getitem__)
        for number in generator.permutation(len(pool) // size).tolist():
            sorted_batches += pool[number * size : (number + 1) * size]
    return [*order[:first], *sorted_batches, *order[last:]]


def order_digest(batches: list[list[int]]) -> str:
    """Return the digest of an order of batches."""
    return digest(batches)


def _permutation(count: int, seed: int) -> list[int]:
    permutation: list[int] = np.random.RandomState(seed).permutation(count).tolist()
    return permutation
