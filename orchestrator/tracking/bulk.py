"""All runs of an experiment from a database, by a query per table: a search through MLflow's objects takes twenty times as long."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from orchestrator.tracking import schema
from orchestrator.tracking.run_record import RunRecord

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from sqlalchemy import Connection, Engine, Select

DIALECTS = {"sqlite": None, "postgresql": "REPEATABLE READ", "mysql": "REPEATABLE READ"}
"""Databases that are read so -> the isolation in which several queries see one moment; SQLite's transactions always do."""
_SHORT = 100
"""Characters of the longest value that is kept once for all runs that have it."""


def engine_of(client: MlflowClient) -> Engine | None:
    """Return the engine of the database behind a client; None where it speaks to a server, or to a database of another kind."""
    from sqlalchemy import Engine

    # MLflow's client has no other way to its store, and a second engine would bypass its pool settings and certificates.
    store = getattr(getattr(client, "_tracking_client", None), "store", None)
    engine = getattr(store, "engine", None)
    return engine if isinstance(engine, Engine) and engine.dialect.name in DIALECTS else None


def live_runs(engine: Engine, experiment_id: str, kind: str | None = None) -> list[RunRecord]:
    """Return the runs of an experiment that are not deleted, as they all were at one moment, in no order.

    Args:
        engine: that of MLflow's own store.
        experiment_id: the experiment.
        kind: value of the tag `fairsweep.kind`; None for all runs, those without it included.
    """
    from mlflow.store.tracking.dbmodels.models import SqlLatestMetric, SqlParam, SqlRun, SqlTag

    runs = _wanted(experiment_id, kind)
    with _moment(engine) as connection:
        tags, params = (_texts(connection, _query(table, ("key", "value"), runs)) for table in (SqlTag, SqlParam))
        metrics = _numbers(connection, _query(SqlLatestMetric, ("key", "value", "is_nan"), runs))
        found = connection.execute(_query(SqlRun, ("status", "start_time", "end_time", "artifact_uri"), runs)).all()
    return [
        RunRecord(
            run_id=run_id,
            trial_id=tags.get(run_id, {}).get(schema.TRIAL, ""),
            tags=tags.get(run_id, {}),
            params=params.get(run_id, {}),
            metrics=metrics.get(run_id, {}),
            run_status=str(status),
            started=(started or 0) / 1000,
            ended=None if ended is None else ended / 1000,
            artifact_uri=str(artifact_uri or ""),
        )
        for run_id, status, started, ended, artifact_uri in found
    ]


@contextmanager
def _moment(engine: Engine) -> Iterator[Connection]:
    """Give a connection all of whose queries see the database as it is at the first one."""
    isolation = DIALECTS[engine.dialect.name]
    with engine.connect() as connection:
        if isolation:
            connection.execution_options(isolation_level=isolation)
        else:
            # Python's driver begins no transaction for a SELECT.
            connection.exec_driver_sql("BEGIN")
        yield connection


def _wanted(experiment_id: str, kind: str | None) -> Select[Any]:
    """Return the query of the runs' ids."""
    from mlflow.store.tracking.dbmodels.models import SqlRun, SqlTag
    from sqlalchemy import select

    query: Select[Any] = select(SqlRun.run_uuid).where(SqlRun.experiment_id == int(experiment_id), SqlRun.lifecycle_stage == "active")
    if kind is None:
        return query
    return query.where(SqlRun.run_uuid.in_(select(SqlTag.run_uuid).where(SqlTag.key == schema.KIND, SqlTag.value == kind)))


def _query(table: Any, columns: Sequence[str], runs: Select[Any]) -> Select[Any]:
    """Return the query of a table's rows of some runs: the run's id, and columns."""
    from sqlalchemy import select

    query: Select[Any] = select(table.run_uuid, *(getattr(table, name) for name in columns)).where(table.run_uuid.in_(runs))
    return query


def _rows(connection: Connection, query: Select[Any]) -> Sequence[tuple[Any, ...]]:
    """Return rows as the driver gives them: SQLAlchemy's take twice as long to make."""
    cursor = connection.execute(query).cursor
    assert cursor is not None
    rows: Sequence[tuple[Any, ...]] = cursor.fetchall()
    return rows


def _texts(connection: Connection, query: Select[Any]) -> dict[str, dict[str, str]]:
    """Return key -> value by run. Equal texts are one object: runs of a sweep differ in few of theirs."""
    found: dict[str, dict[str, str]] = {}
    known: dict[str, str] = {}
    same, current, content = known.setdefault, None, {}
    for run_id, key, value in _rows(connection, query):
        if run_id != current:
            current, content = run_id, found.setdefault(run_id, {})
        content[same(key, key)] = same(value, value) if value is not None and len(value) <= _SHORT else value
    return found


def _numbers(connection: Connection, query: Select[Any]) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    known: dict[str, str] = {}
    for run_id, key, value, is_nan in _rows(connection, query):
        found.setdefault(run_id, {})[known.setdefault(key, key)] = float("nan") if is_nan else value
    return found
