"""The section `compute`, and the order of batches: what they refuse, and what of them is part of a trial's id."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from search_spaces.compute import Compute
from search_spaces.loading import dump_spec, load_spec

FaultsOf = Callable[..., dict[str, str]]


def test_the_defaults_choose_nothing(sweep_file: Path) -> None:
    assert load_spec(sweep_file).compute.settings == Compute()
    assert Compute().chosen() == {}
    assert Compute(gradient_checkpointing=True).chosen() == {"gradient_checkpointing": True}


def test_a_sweep_says_how_it_computes(sweep_file: Path, tmp_path: Path) -> None:
    spec = load_spec(sweep_file, ("compute.optimizer_kernel=fused", "training.batches=bucketed"))
    assert spec.compute.settings == Compute(optimizer_kernel="fused")
    assert spec.training_of("squad").batches == "bucketed"
    dump = tmp_path / "dump.yaml"
    dump.write_text(dump_spec(spec))
    assert load_spec(dump) == spec


@pytest.mark.parametrize(
    ("override", "path", "words"),
    [
        ("compute.optimizer_kernel=quick", "compute.optimizer_kernel", "'auto', 'foreach', 'fused' or 'loop'"),
        ("compute.compile=true", "compute.compile", "remove it"),
        ("compute.threads=2", "compute.threads", "resources: {cpus: ...}"),
        ("compute.kernel=fused", "compute.kernel", "unknown key"),
        ("training.batches=sorted", "training.batches", "'shuffled' or 'bucketed'"),
        ("grid.batches=[shuffled, bucketed]", "grid.batches", "the same for all trials of a sweep"),
    ],
)
def test_what_is_not_offered_is_refused_with_the_way_out(faults_of: FaultsOf, override: str, path: str, words: str) -> None:
    assert words in faults_of(override)[path]


@pytest.mark.parametrize(("other", "words"), [("packing=4", "4 packed trials"), ("deepspeed.zero_stage=3", "zero_stage: 3")])
def test_gradient_checkpointing_needs_a_whole_base_of_its_own(faults_of: FaultsOf, other: str, words: str) -> None:
    assert words in faults_of("compute.gradient_checkpointing=true", other)["compute.gradient_checkpointing"]
