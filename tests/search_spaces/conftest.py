"""A small sweep file, and reading it with changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from search_spaces.errors import SpecError
from search_spaces.loading import load_spec

SWEEP = """
name: small
model: micro-llama
tasks: [squad]
data: {source: embedded, train: 8, selection: 4, test: 4}
methods:
  lora: {rank: [2, 4]}
targets: [q, v]
grid:
  learning_rate: [1e-3, 1e-2]
training: {steps: 2, batch_size: 2}
seeds: {select: [100], report: [0, 1]}
"""


@pytest.fixture
def sweep_file(tmp_path: Path) -> Path:
    path = tmp_path / "sweep.yaml"
    path.write_text(SWEEP)
    return path


@pytest.fixture
def faults_of(sweep_file: Path) -> Callable[..., dict[str, str]]:
    """Return a function that reads the small sweep with overrides, and gives path -> fault."""

    def read(*overrides: str) -> dict[str, str]:
        with pytest.raises(SpecError) as caught:
            load_spec(sweep_file, overrides)
        return {fault.path: f"{fault.message} {fault.fix}" for fault in caught.value.faults}

    return read
