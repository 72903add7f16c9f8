"""Every row of the golden files, whose values the official scorers computed."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from trainers.api import Task
from trainers.scoring import score_file
from trainers.tasks.drop import Drop
from trainers.tasks.record import Record
from trainers.tasks.squad import Squad
from trainers.tasks.sst2 import Sst2
from trainers.tasks.stsb import Stsb

GOLDEN = Path(__file__).resolve().parents[3] / ".." / "shared" / "golden"


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden files are not part of a clone")
@pytest.mark.parametrize("task", [Squad(), Drop(), Record()], ids=lambda task: task.card.name)
def test_every_golden_row_has_the_official_score(task: Task) -> None:
    path = GOLDEN / f"{task.card.name}.jsonl"
    expected = [json.loads(line)["expected"] for line in path.read_text().splitlines()]

    scores = score_file(task, path)

    assert scores.rows is not None
    found = [{name: row[name] for name in ("em", "f1")} for row in scores.rows]
    assert len(found) > 300
    assert found == [pytest.approx(row, abs=1e-12) for row in expected]
    assert scores.metrics["f1"] == pytest.approx(sum(row["f1"] for row in expected) / len(expected))


@pytest.mark.skipif(not GOLDEN.is_dir(), reason="the golden files are not part of a clone")
@pytest.mark.parametrize("task", [Sst2(), Stsb()], ids=lambda task: task.card.name)
def test_every_golden_batch_has_the_official_score(task: Task) -> None:
    batches = [json.loads(line) for line in (GOLDEN / f"glue_{task.card.name}.jsonl").read_text().splitlines()]
    assert len(batches) > 5
    for batch in batches:
        expected = {"spearman" if name == "spearmanr" else name: value for name, value in batch["expected"].items()}
        found = task.score(batch["prediction"], batch["references"]).metrics
        assert {name: None if math.isnan(value) else value for name, value in found.items()} == pytest.approx(expected, abs=1e-12)
