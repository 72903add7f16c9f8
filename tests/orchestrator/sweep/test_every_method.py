"""One sweep over all methods of the project."""

import json
from typing import Any

import pytest
import yaml

from trainers import registry

NEEDS_A_HEAD = {"lorta_head"}
NEEDS_BIASES = {"bitfit"}


@pytest.mark.parametrize(
    ("model", "task", "refused"), [("micro-llama", "squad", NEEDS_A_HEAD | NEEDS_BIASES), ("micro-bert", "sst2", set())]
)
def test_a_sweep_over_all_methods_has_no_failure(workplace: Any, model: str, task: str, refused: set[str]) -> None:
    methods = {name: dict.fromkeys(registry.method_type(name).card.capacity, 2) for name in registry.method_names()}
    spec = {
        "name": "micro",
        "model": model,
        "tasks": [task],
        "data": {"source": "embedded", "train": 8, "selection": 4, "test": 4},
        "methods": methods,
        "targets": ["q", "v"],
        "grid": {"learning_rate": [1.0e-3]},
        "training": {"steps": 5, "batch_size": 4, "max_length": 220, "max_new_tokens": 4},
        "seeds": {"select": [100], "report": [0]},
        "resources": {"cpus": 1},
    }
    (workplace.folder / "all.yaml").write_text(yaml.safe_dump(spec))
    done = workplace.run("run", "all.yaml", "--json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["failed"] == 0
    assert {row["method"] for row in document["leaderboard"]} >= {*methods, "base"} - refused
    statuses = {content["status"] for content in workplace.outcomes().values()}
    assert statuses == {"finished"}
