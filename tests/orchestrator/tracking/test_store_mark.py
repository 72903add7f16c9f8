"""The mark of a database changes with whatever is written to it, and with nothing else."""

from __future__ import annotations

import os
import shutil
import sqlite3
from pathlib import Path

import psycopg
import pytest
from mlflow import MlflowClient

from orchestrator.tracking.connection import sqlite_file
from orchestrator.tracking.store_mark import store_mark
from tests.services.postgres import Postgres


def test_every_write_changes_the_mark_of_sqlite(uri: str, client: MlflowClient) -> None:
    experiment = client.create_experiment("marks")
    run_id = client.create_run(experiment).info.run_id
    marks = [store_mark(uri)]
    for write, *arguments in (
        (client.set_tag, "a", "1"),
        (client.set_tag, "a", "2"),
        (client.delete_tag, "a"),
        (client.log_metric, "m", 1.0),
        (client.delete_run,),
        (client.restore_run,),
    ):
        write(run_id, *arguments)
        marks.append(store_mark(uri))
    assert None not in marks and len(set(marks)) == len(marks)


def test_reading_changes_nothing(uri: str, client: MlflowClient) -> None:
    client.create_run(client.create_experiment("only read"))
    mark = store_mark(uri)
    assert client.search_experiments() and MlflowClient(uri).get_experiment_by_name("only read")
    assert store_mark(uri) == mark


def test_another_file_in_its_place_has_another_mark(tmp_path: Path) -> None:
    file, other = tmp_path / "mlflow.db", tmp_path / "copy"
    make_table(file)
    mark = store_mark(f"sqlite:///{file}")
    shutil.copy2(file, other)
    os.replace(other, file)
    assert store_mark(f"sqlite:///{file}") not in (mark, None)


def test_there_is_no_mark_where_it_would_not_be_sure(tmp_path: Path) -> None:
    file = tmp_path / "mlflow.db"
    assert store_mark(f"sqlite:///{file}") is None
    file.write_text("no database")
    assert store_mark(f"sqlite:///{file}") is None
    file.unlink()
    make_table(file)
    with sqlite3.connect(file) as connection:
        connection.execute("PRAGMA journal_mode=WAL")
    assert store_mark(f"sqlite:///{file}") is None
    for uri in ("http://127.0.0.1:9", "sqlite://", "mysql://localhost/mlflow", "postgresql://127.0.0.1:9/mlflow", "postgresql+no://a/b"):
        assert store_mark(uri) is None


def make_table(file: Path) -> None:
    with sqlite3.connect(file) as connection:
        connection.execute("CREATE TABLE runs (id)")
    assert sqlite_file(f"sqlite:///{file}") == file


@pytest.mark.services
def test_the_mark_of_postgresql_changes_with_what_is_committed(postgres: Postgres) -> None:
    uri = postgres.database("marks")
    with psycopg.connect(uri) as connection:
        connection.execute("CREATE TABLE runs (id int)")
    mark = store_mark(uri)
    assert mark is not None
    with psycopg.connect(uri) as connection:
        connection.execute("SELECT * FROM runs")
    assert store_mark(uri) == mark
    with psycopg.connect(uri) as writer:
        writer.execute("INSERT INTO runs VALUES (1)")
        during = store_mark(uri)
        with psycopg.connect(uri) as other:
            other.execute("INSERT INTO runs VALUES (2)")
        between = store_mark(uri)
    assert len({mark, between, store_mark(uri)}) == 3
    # What is not committed cannot be seen yet, so the mark need not change before.
    assert during is not None and during != store_mark(uri)


@pytest.mark.services
def test_databases_and_restarts_of_postgresql_have_marks_of_their_own(postgres: Postgres) -> None:
    one, other = postgres.database("one"), postgres.database("other")
    mark = store_mark(one)
    assert None not in (mark, store_mark(other)) and mark != store_mark(other)
    postgres.restart()
    assert store_mark(one) not in (mark, None)
