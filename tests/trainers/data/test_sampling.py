from __future__ import annotations

import hashlib
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search_spaces.loading import load_spec
from search_spaces.sections import ALL
from trainers.sampling import POOL_BATCHES, batch_indices, order_digest, split_indices

GOLDEN = Path(__file__).resolve().parents[3] / ".." / "shared" / "golden" / "sampling.json"
SIZES = ("n_train_pool", "n_valid_pool", "num_train", "num_dev", "num_eval", "seed")


def sha256(indices: tuple[int, ...]) -> str:
    return hashlib.sha256(json.dumps(list(indices)).encode()).hexdigest()


@pytest.mark.skipif(not GOLDEN.is_file(), reason="the golden files are not part of a clone")
def test_the_examples_are_those_of_the_original_code() -> None:
    cases: list[dict[str, Any]] = json.loads(GOLDEN.read_text())
    assert {"SST2", "RTE", "BoolQ", "Copa", "ReCoRD", "SQuAD", "DROP"} <= {case["task"] for case in cases}
    for case in cases:
        picked = split_indices(*(case[name] for name in SIZES))
        assert (sha256(picked.train), len(picked.train)) == (case["train_sha256"], case["train_len"])
        assert (sha256(picked.selection), len(picked.selection)) == (case["dev_sha256"], case["dev_len"])
        assert (sha256(picked.test), len(picked.test)) == (case["eval_sha256"], case["eval_len"])


LOW_RESOURCE = """
name: low-resource
model: micro-llama
tasks: {squad: {}, copa: {data: {train: 300, selection: 100}}}
data: {train: 1000, selection: 500, test: 1000}
methods: {lora: {rank: 8}}
grid: {learning_rate: [1.0e-4]}
training: {steps: 1}
"""


@pytest.mark.skipif(not GOLDEN.is_file(), reason="the golden files are not part of a clone")
@pytest.mark.parametrize(("name", "task"), [("SQuAD", "squad"), ("Copa", "copa")])
def test_a_sweep_file_says_the_protocol_of_the_original_code(name: str, task: str, tmp_path: Path) -> None:
    path = tmp_path / "sweep.yaml"
    path.write_text(LOW_RESOURCE)
    data = load_spec(path).data_of(task)
    cases = [case for case in json.loads(GOLDEN.read_text()) if case["task"] == name]
    assert cases
    for case in cases:
        picked = split_indices(case["n_train_pool"], case["n_valid_pool"], data.train, data.selection, data.test, case["seed"])
        assert sha256(picked.train) == case["train_sha256"]
        assert sha256(picked.selection) == case["dev_sha256"]
        assert sha256(picked.test) == case["eval_sha256"]


def test_all_rows_are_those_that_selection_leaves() -> None:
    picked = split_indices(60, 20, ALL, 10, ALL, 3)
    assert sorted(picked.train + picked.selection) == list(range(60))
    assert len(picked.selection) == 10
    assert picked.selection == split_indices(60, 20, 50, 10, 1, 3).selection
    assert sorted(picked.test) == list(range(20))


@given(
    pools=st.tuples(st.integers(0, 60), st.integers(0, 60)),
    caps=st.tuples(st.integers(0, 40), st.integers(0, 40), st.integers(0, 40)),
    seed=st.integers(0, 2**32 - 1),
)
def test_splits_are_disjoint_and_selection_keeps_its_size(pools: tuple[int, int], caps: tuple[int, int, int], seed: int) -> None:
    picked = split_indices(*pools, *caps, seed)
    drawn = picked.train + picked.selection
    assert len(set(drawn)) == len(drawn) == min(pools[0], caps[0] + caps[1])
    assert set(drawn) <= set(range(pools[0]))
    assert len(picked.selection) == min(caps[1], pools[0])
    assert len(set(picked.test)) == len(picked.test) == min(pools[1], caps[2])


@given(count=st.integers(1, 40), batch_size=st.integers(1, 50), steps=st.integers(0, 30), seed=st.integers(0, 2**31))
def test_every_step_is_full_and_examples_are_seen_equally_often(count: int, batch_size: int, steps: int, seed: int) -> None:
    batches = batch_indices(count, batch_size, steps, seed)
    assert [len(batch) for batch in batches] == [batch_size] * steps
    seen = Counter(index for batch in batches for index in batch)
    whole, part = divmod(batch_size * steps, count)
    assert set(seen.values()) <= {whole, whole + 1}
    assert sum(seen[index] > whole for index in range(count)) == part


def test_a_longer_run_begins_like_a_shorter_one_and_other_seeds_differ() -> None:
    short, long = batch_indices(10, 4, 5, 0), batch_indices(10, 4, 9, 0)
    assert long[:5] == short
    assert order_digest(long[:5]) == order_digest(short) != order_digest(batch_indices(10, 4, 5, 1))


def test_epochs_are_shuffled_anew() -> None:
    first, second = batch_indices(20, 20, 2, 0)
    assert sorted(first) == sorted(second) == list(range(20))
    assert first != second


def uneven(count: int, seed: int = 0) -> list[int]:
    """Lengths with a long tail, as those of question answering."""
    return np.random.Generator(np.random.PCG64(seed)).lognormal(5, 0.5, count).astype(int).tolist()


@given(count=st.integers(1, 40), size=st.integers(1, 50), steps=st.integers(0, 30), seed=st.integers(0, 2**31), same=st.booleans())
def test_bucketed_steps_are_full_and_examples_are_seen_equally_often(count: int, size: int, steps: int, seed: int, same: bool) -> None:
    batches = batch_indices(count, size, steps, seed, [1] * count if same else uneven(count))
    assert [len(batch) for batch in batches] == [size] * steps
    stream = [index for batch in batches for index in batch]
    for start in range(0, len(stream) // count * count, count):
        assert sorted(stream[start : start + count]) == list(range(count)), "an epoch does not have every example once"


@pytest.mark.parametrize(("count", "size"), [(1000, 8), (1003, 8), (90, 4)])
def test_bucketed_batches_hold_texts_of_similar_length(count: int, size: int) -> None:
    lengths, steps = uneven(count), 2 * count // size

    def padding(batches: list[list[int]]) -> float:
        text = sum(lengths[index] for batch in batches for index in batch)
        return sum(size * max(lengths[index] for index in batch) for batch in batches) / text - 1

    shuffled, bucketed = batch_indices(count, size, steps, 7), batch_indices(count, size, steps, 7, lengths)
    assert padding(bucketed) < 0.25 * padding(shuffled)
    means = [np.mean([lengths[index] for index in batch]) for batch in bucketed]
    assert means != sorted(means), "short texts come before long ones"


def test_bucketed_order_stays_within_pools_and_follows_its_seed() -> None:
    count = 3 * POOL_BATCHES * 2
    lengths = uneven(count)
    plain, order = (batch_indices(count, 2, 3 * POOL_BATCHES, 5, given) for given in (None, lengths))
    for start in range(0, 3 * POOL_BATCHES, POOL_BATCHES):
        pool = slice(start, start + POOL_BATCHES)
        assert {i for batch in plain[pool] for i in batch} == {i for batch in order[pool] for i in batch}
    assert batch_indices(count, 2, 3 * POOL_BATCHES, 5, lengths) == order != batch_indices(count, 2, 3 * POOL_BATCHES, 6, lengths)
    assert batch_indices(count, 2, 20, 5, lengths) == order[:20], "a longer run does not begin like a shorter one"
