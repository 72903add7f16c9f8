"""What runs left is checked, kept, and told where it is missing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from mlflow import MlflowClient

from orchestrator import evidence as evidence_module
from orchestrator.evidence import load_evidence
from orchestrator.tracking.delivery import Tracker
from orchestrator.tracking.records import RunReader, RunRecord
from tests.services.tracking_server import TrackingServer
from trainers.outcomes import OutcomeStore

Commit = Callable[..., str]
TABLE: dict[str, Any] = {
    "split": ["selection", "test", "test"],
    "id": ["s1", "t1", "t2"],
    "group": ["g", "g", "h"],
    "prediction": [1, 0, 1],
    "reference": [1, 1, 1],
    "accuracy": [1.0, 0.0, 1.0],
}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("FAIRSWEEP_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "evidence"


@pytest.fixture
def reported(store: OutcomeStore, trial_of: Any, outcome_of: Any) -> Commit:
    """Commits an Outcome of the report phase with predictions, or none; returns the trial's id."""

    def add(table: dict[str, Any] | bytes | None = TABLE, seed: int = 0, **changes: Any) -> str:
        trial = trial_of(phase="report", seed=seed)
        staging = store.staging(trial.id, "a1")
        if isinstance(table, bytes):
            (staging / "predictions.parquet").write_bytes(table)
        elif table is not None:
            pq.write_table(pa.table(table), staging / "predictions.parquet")
        store.commit(trial, outcome_of(trial, **changes), staging)
        return trial.id

    return add


@pytest.fixture
def reader(uri: str, client: MlflowClient) -> RunReader:
    """Of a store whose artifacts lie in a folder of this machine."""
    return RunReader(uri, client)


class Elsewhere(MlflowClient):  # type: ignore[misc]
    """A client whose artifacts are not on this machine; it counts what is fetched."""

    fetched = 0
    away = False

    def download_artifacts(self, run_id: str, path: str, dst_path: str | None = None) -> str:
        type(self).fetched += 1
        if self.away:
            raise ConnectionError("nobody is there")
        return str(super().download_artifacts(run_id, path, dst_path))


@pytest.fixture
def elsewhere(uri: str, monkeypatch: pytest.MonkeyPatch) -> RunReader:
    monkeypatch.setattr(Elsewhere, "fetched", 0)
    monkeypatch.setattr(Elsewhere, "away", False)
    reader = RunReader(uri, Elsewhere(uri))
    monkeypatch.setattr(reader, "artifact_folder", lambda _: None)
    return reader


def record_in(reader: RunReader, sweep: str, store: OutcomeStore, trial_id: str) -> RunRecord:
    Tracker(reader.uri, sweep, "d").deliver(store, trial_id)
    return next(record for record in reader.runs(sweep) if record.trial_id == trial_id)


def test_the_test_split_and_the_curves_are_read_where_they_lie(
    reader: RunReader, store: OutcomeStore, reported: Commit, cache: Path
) -> None:
    record = record_in(reader, "there", store, reported())
    found = load_evidence(reader, [record])
    table = found.test(record.run_id)
    assert table is not None and found.missing == {} and not cache.exists()
    assert table.to_pydict() == {name: values[1:] for name, values in TABLE.items() if name != "split"}
    assert found.curves(record.run_id)["selection/f1"] == [(3, 0.5), (6, 0.4)]
    assert {Path(path).name for path in found.stamps} == {"SHA256SUMS", "outcome.json", "predictions.parquet"}
    assert found.test("unknown") is None and found.curves("unknown") == {}


def test_files_without_references_are_read(reader: RunReader, store: OutcomeStore, reported: Commit) -> None:
    record = record_in(reader, "older", store, reported({name: values for name, values in TABLE.items() if name != "reference"}))
    table = load_evidence(reader, [record]).test(record.run_id)
    assert table is not None and "reference" not in table.column_names


WITHOUT_TEST = {name: values[:1] for name, values in TABLE.items()}
WITHOUT_GROUP = {name: values for name, values in TABLE.items() if name != "group"}


@pytest.mark.parametrize(
    ("table", "reason"),
    [
        (None, "predictions.parquet is missing among the run's artifacts"),
        (b"rows", "predictions.parquet is damaged"),
        (b"", "predictions.parquet is damaged"),
        (WITHOUT_TEST, "predictions.parquet has no row of the test split"),
        (WITHOUT_GROUP, "predictions.parquet has no column group"),
    ],
    ids=["none", "no parquet", "empty", "no test", "no group"],
)
def test_what_cannot_be_used_is_told_for_its_run(reader: RunReader, store: OutcomeStore, reported: Commit, table: Any, reason: str) -> None:
    sweep = f"bad {reason}"
    good, bad = record_in(reader, sweep, store, reported()), record_in(reader, sweep, store, reported(table, seed=1))
    found = load_evidence(reader, [bad, good])
    assert found.missing == {bad.run_id: reason}
    assert found.test(bad.run_id) is None and found.test(good.run_id) is not None


def test_files_that_were_changed_are_not_believed(reader: RunReader, store: OutcomeStore, reported: Commit) -> None:
    record = record_in(reader, "changed", store, reported())
    folder = Path(record.artifact_uri)
    pq.write_table(pa.table({**TABLE, "accuracy": [1.0, 1.0, 1.0]}), folder / "predictions.parquet")
    assert load_evidence(reader, [record]).missing == {record.run_id: "predictions.parquet does not match its checksum"}
    (folder / "SHA256SUMS").write_text("".join(f"{'0' * 64}  {name}\n" for name in ("outcome.json", "predictions.parquet")))
    assert "not that of the Outcome" in load_evidence(reader, [record]).missing[record.run_id]
    (folder / "SHA256SUMS").unlink()
    assert load_evidence(reader, [record]).missing == {record.run_id: "SHA256SUMS is missing among the run's artifacts"}


def test_a_run_that_did_not_finish_lacks_nothing(reader: RunReader, store: OutcomeStore, reported: Commit) -> None:
    record = record_in(reader, "failed", store, reported(None, status="diverged", error="loss is NaN", metrics={}))
    found = load_evidence(reader, [record])
    assert found.missing == {} and found.test(record.run_id) is None and found.stamps == {}


def test_what_lies_elsewhere_is_fetched_once(elsewhere: RunReader, store: OutcomeStore, reported: Commit, cache: Path) -> None:
    record = record_in(elsewhere, "fetched", store, reported())
    first = load_evidence(elsewhere, [record]).test(record.run_id)
    assert first is not None and Elsewhere.fetched == 3
    assert load_evidence(elsewhere, [record]).test(record.run_id).equals(first)
    assert Elsewhere.fetched == 3
    assert {file.name for file in cache.glob("*/*")} == {"SHA256SUMS", "outcome.json", "predictions.parquet"}


def test_a_file_that_is_missing_elsewhere_costs_its_run_alone(elsewhere: RunReader, store: OutcomeStore, reported: Commit) -> None:
    records = [record_in(elsewhere, "gap", store, reported(TABLE if seed else None, seed=seed)) for seed in range(3)]
    found = load_evidence(elsewhere, records)
    assert found.missing == {records[0].run_id: "predictions.parquet is missing among the run's artifacts"}
    assert not found.is_passing and all(found.test(record.run_id) is not None for record in records[1:])


def test_a_damaged_cache_is_fetched_again(elsewhere: RunReader, store: OutcomeStore, reported: Commit, cache: Path) -> None:
    record = record_in(elsewhere, "refetched", store, reported())
    first = load_evidence(elsewhere, [record]).test(record.run_id)
    for file in cache.glob("*/*"):
        file.write_bytes(b"damaged")
    assert load_evidence(elsewhere, [record]).test(record.run_id).equals(first)
    assert Elsewhere.fetched == 6 and len(list(cache.iterdir())) == 1


def test_a_cache_that_cannot_be_written_is_done_without(
    elsewhere: RunReader, store: OutcomeStore, reported: Commit, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("FAIRSWEEP_CACHE", str(tmp_path / "file"))
    record = record_in(elsewhere, "uncached", store, reported())
    assert load_evidence(elsewhere, [record]).test(record.run_id) is not None


def test_the_cache_does_not_grow_without_end(
    elsewhere: RunReader, store: OutcomeStore, reported: Commit, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [record_in(elsewhere, "many", store, reported(seed=seed)) for seed in range(3)]
    monkeypatch.setattr(evidence_module, "CACHE_BYTES", 1)
    found = load_evidence(elsewhere, records)
    assert all(found.test(record.run_id) is not None for record in records)
    assert list(cache.iterdir()) == []


def test_a_store_that_stops_answering_is_not_asked_for_every_run(
    elsewhere: RunReader, store: OutcomeStore, reported: Commit, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = [record_in(elsewhere, "away", store, reported(seed=seed)) for seed in range(3)]
    monkeypatch.setattr(Elsewhere, "away", True)
    monkeypatch.setattr(evidence_module, "THREADS", 1)
    found = load_evidence(elsewhere, records)
    assert found.is_passing and len(found.missing) == 3 and Elsewhere.fetched == 1
    monkeypatch.setattr(Elsewhere, "away", False)
    assert load_evidence(elsewhere, records).missing == {}


def test_names_from_a_store_stay_inside_the_cache(elsewhere: RunReader, store: OutcomeStore, reported: Commit, tmp_path: Path) -> None:
    record = record_in(elsewhere, "hostile", store, reported())
    hostile = replace(record, run_id="../../../outside", artifact_uri="/etc")
    found = load_evidence(elsewhere, [hostile])
    assert "../../../outside" in found.missing
    assert not list(tmp_path.rglob("outside*"))


@pytest.mark.services
def test_artifacts_are_fetched_through_a_server(store: OutcomeStore, reported: Commit, tmp_path: Path) -> None:
    with TrackingServer(f"sqlite:///{tmp_path}/server.db", auth=False) as server:
        reader = RunReader(server.uri)
        records = [record_in(reader, "served", store, reported(seed=seed)) for seed in range(3)]
        found = load_evidence(reader, records)
        assert found.missing == {} and all(found.test(record.run_id) is not None for record in records)
        server.stop()
        again = load_evidence(reader, records)
        assert again.missing == {}, "what was fetched once is kept"
