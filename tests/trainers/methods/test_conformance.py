"""Runs the conformance suite over every registered method, native and bridged: a new one is tested unasked."""

from collections.abc import Mapping
from typing import Any

import pytest

from trainers import registry
from trainers.testing import MethodCase, MethodSuite

CAPACITY: Mapping[str, Any] = {"block_size": 4, "boft_block_size": 4, "oft_block_size": 4, "sparse_rate": 0.05, "sparsity": 0.9}
"""Values that fit the micro models' matrices, for keys that do not take 2."""
SETTINGS: Mapping[str, Mapping[str, Any]] = {
    "peft/adamss": {"r": 4, "num_subspaces": 2},
    "peft/road": {"group_size": 4},
    "peft/trainable_tokens": {"token_indices": [0, 7, 200, 255]},
    "peft/vblora": {"vector_length": 4},
}
# A subspace of fewer rows than its rank has fewer parameters than the count, which does not see the weights.
SPECIAL: Mapping[str, Mapping[str, Any]] = {"peft/adamss": {"subspace_rank": 1}}
FORMULAS = {"lora": 2 * 4 * 2 * (16 + 16) // 2, "lorta": 2 * (16 + 4 + 4 + 2 + 2)}


def case_of(name: str, model: str = "micro-llama") -> MethodCase:
    kind = registry.method_type(name)
    capacity = {key: CAPACITY.get(key, 2) for key in kind.card.capacity} | dict(SPECIAL.get(name, {}))
    return MethodCase(name, capacity, SETTINGS.get(name, {}), model=model, formula=FORMULAS.get(name))


class TestEveryMethodOnALanguageModel(MethodSuite):
    @pytest.fixture(params=(*registry.method_names(), *registry.bridged_names()))
    def case(self, request: pytest.FixtureRequest) -> MethodCase:
        return case_of(request.param)


class TestEveryMethodOnAnEncoder(MethodSuite):
    @pytest.fixture(params=registry.method_names())
    def case(self, request: pytest.FixtureRequest) -> MethodCase:
        return case_of(request.param, "micro-bert")
