"""Which examples a trial uses, and in which order: the same for every method."""

from __future__ import annotations

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


def batch_indices(count: int, batch_size: int, steps: int, seed: int) -> list[list[int]]:
    """Return the examples of every optimiser step: one permutation per epoch, cut into batches of equal size.

    A batch that the end of an epoch would leave short runs on into the next epoch, so every example is seen equally often, up to
    one, and every step has the same number of examples.

    Args:
        count: number of training examples.
        batch_size: examples per step.
        steps: number of steps.
        seed: seed of the order; epoch e draws from its own generator, `PCG64([seed, e])`.
    """
    if not count:
        return []
    needed = batch_size * steps
    epochs = range(-(-needed // count))
    stream = [int(i) for e in epochs for i in np.random.Generator(np.random.PCG64([seed, e])).permutation(count)]
    return [stream[start : start + batch_size] for start in range(0, needed, batch_size)]


def order_digest(batches: list[list[int]]) -> str:
    """Return the digest of an order of batches."""
    return digest(batches)


def _permutation(count: int, seed: int) -> list[int]:
    permutation: list[int] = np.random.RandomState(seed).permutation(count).tolist()
    return permutation
