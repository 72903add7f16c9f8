"""Runs beside the trials: one live run of each name, complete or not there."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.tracking.connection import AwayError
from orchestrator.tracking.records import RunReader
from orchestrator.tracking.schema import Point
from orchestrator.tracking.side_runs import SideRun, SideRuns


def side_run(text: str = "one", **changes: Any) -> SideRun:
    points = [Point("train/loss", 1.0 / step, 1000 * step, step) for step in (1, 2)]
    content: dict[str, Any] = {"kind": "sentinel", "name": "n", "title": "t", "started": 1.0, "ended": 2.0, "points": points}
    return SideRun(**{**content, "files": {"a.txt": text}, "tags": {"fairsweep.x": text}, **changes})


def test_a_run_holds_its_tags_files_and_points(uri: str, client: Any, tmp_path: Any) -> None:
    run_id = SideRuns(uri, "holds").put(side_run())
    (record,) = RunReader(uri).side_runs("holds", "sentinel")
    assert record.run_id == run_id and record.run_status == "FINISHED" and record.tags["fairsweep.x"] == "one"
    assert [(p.step, p.value) for p in client.get_metric_history(run_id, "train/loss")] == [(1, 1.0), (2, 0.5)]
    assert RunReader(uri).download(run_id, "a.txt", tmp_path).read_text() == "one"
    assert RunReader(uri).side_runs("holds", "reference") == [] and RunReader(uri).runs("holds") == []


def test_put_replaces_by_name_and_keep_first_does_not(uri: str) -> None:
    runs, reader = SideRuns(uri, "names"), RunReader(uri)
    first, other = runs.put(side_run()), runs.put(side_run(name="other"))
    assert runs.put(side_run()) == first
    assert runs.keep_first(side_run("two")) == first
    second = runs.put(side_run("two", started=3.0))
    assert [record.run_id for record in reader.side_runs("names", "sentinel")] == [other, second]


def test_a_run_that_was_left_half_written_gives_way(uri: str, client: Any) -> None:
    runs, reader = SideRuns(uri, "half"), RunReader(uri)
    half = runs.put(side_run())
    client.delete_tag(half, "fairsweep.delivered")
    assert reader.side_runs("half", "sentinel") == []
    whole = runs.keep_first(side_run())
    assert whole != half and [record.run_id for record in reader.side_runs("half", "sentinel")] == [whole]


def test_a_deleted_experiment_comes_back(uri: str, client: Any) -> None:
    runs = SideRuns(uri, "back")
    runs.put(side_run())
    client.delete_experiment(RunReader(uri).experiment_id("back"))
    runs.put(side_run("two"))
    assert len(RunReader(uri).side_runs("back", "sentinel")) == 1


def test_a_server_that_is_away_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(AwayError):
        SideRuns("http://127.0.0.1:9", "away").put(side_run())
