"""Result files in the form of HF PEFT's method comparison, and tables, written by the tests."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

RESULT: dict[str, Any] = {
    "run_info": {
        "created_at": "2026-01-02T03:04:05+00:00",
        "total_time": 100.0,
        "experiment_name": "lora/small-rank8",
        "peft_branch": "main",
        "train_config": {"model_id": "someone/small", "seed": 0, "max_steps": 20, "batch_size": 4},
        "peft_config": {"peft_type": "LORA", "r": 8},
        "error_msg": "",
    },
    "train_info": {
        "accelerator_memory_max": 2_000_000_000,
        "train_time": 90.0,
        "file_size": 4096,
        "num_trainable_params": 1024,
        "status": "success",
        "metrics": [
            {"step": 10, "valid accuracy": 0.5, "train loss": 1.0, "train time": 4.0},
            {"step": 20, "valid accuracy": 0.5, "train loss": 0.9, "train time": 6.0},
            {"step": 20, "test accuracy": 625 / 1319, "train loss": 0.9, "forgetting": 0.1},
        ],
    },
    "meta_info": {
        "model_info": {"sha": "a1"},
        "dataset_info": {"metamath": {"sha": "b2"}, "gsm8k": {"sha": "c3"}},
        "package_info": {"peft-version": "0.19.0", "torch-version": "2.13.0", "transformers-version": None},
        "system_info": {"accelerator": "A GPU"},
        "pytorch_info": "",
    },
}


@pytest.fixture
def result_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a result file with changes given by key path, as `train_info__status="failed"`; returns its folder."""
    folder = tmp_path / "results"

    def write(name: str = "lora.json", **changes: Any) -> Path:
        content = copy.deepcopy(RESULT)
        for path, value in changes.items():
            *parents, key = path.split("__")
            inner = content
            for parent in parents:
                inner = inner[parent]
            inner[key] = value
        folder.mkdir(exist_ok=True)
        (folder / name).write_text(json.dumps(content, indent=2))
        return folder

    return write


@pytest.fixture
def table_file(tmp_path: Path) -> Callable[..., Path]:
    """Writes a table of the given lines."""

    def write(*lines: str, name: str = "table.csv") -> Path:
        file = tmp_path / name
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return file

    return write
