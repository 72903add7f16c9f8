from __future__ import annotations

import pytest

from search_spaces.trial import ModelRef
from trainers.footprint import footprint
from trainers.models import config_of


def test_the_base_in_its_dtype() -> None:
    found = footprint(ModelRef(id="llama2-7b", dtype="bfloat16"), trainable=1000, tokens=0)
    assert (found.parameters, found.base_bytes) == (6_738_415_616, 2 * 6_738_415_616)
    assert found.training_bytes == 16_000 and found.bytes == found.base_bytes + 16_000
    assert footprint(ModelRef(id="llama2-7b"), 0, 0).base_bytes == 4 * 6_738_415_616


@pytest.mark.parametrize(("stage", "workers", "divided"), [(3, 8, True), (2, 8, False), (3, 1, False)])
def test_zero_3_divides_the_base_by_the_workers_of_a_group(stage: int, workers: int, divided: bool) -> None:
    found = footprint(ModelRef(id="llama2-70b", dtype="bfloat16"), 0, 0, workers, stage)
    whole = 2 * 68_976_648_192
    assert found.base_bytes == (whole // 8 + 2 * 10**9 if divided else whole)


def test_activations_of_a_gpt_layer_are_about_those_of_korthikanti() -> None:
    model = ModelRef(id="opt-1.3b", dtype="bfloat16")
    config = config_of(model)
    head = 2 * (config.hidden_size + config.vocab_size)
    per_token = footprint(model, 0, tokens=1).activation_bytes - head
    assert per_token == 36 * config.hidden_size * config.num_hidden_layers
    assert footprint(model, 0, tokens=100).activation_bytes == 100 * (per_token + head)


def test_a_tied_output_matrix_counts_once() -> None:
    assert footprint(ModelRef(id="smollm2-135m"), 0, 0).parameters == 134_515_008
