"""A mark of a whole tracking database: while it is the same, nothing in there has changed. Takes milliseconds, and no MLflow."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.tracking.connection import sqlite_file

_HEADER_BYTES = 100
_ROLLBACK_JOURNAL = b"\x01\x01"
"""Bytes 18 and 19 of a SQLite file that is not in WAL mode, in which a commit may leave the file itself untouched."""
_POSTGRESQL = """
    SELECT (SELECT system_identifier FROM pg_control_system()), pg_postmaster_start_time(),
           (SELECT oid FROM pg_database WHERE datname = current_database()), pg_current_snapshot()
    WHERE version() ~ '^PostgreSQL [0-9.]+ '
"""
"""All that a query sees follows from its snapshot, which changes with every transaction that wrote anything. The other values tell clusters
and databases apart, also one that was set back by its files; databases that only speak like PostgreSQL are left out."""


def store_mark(uri: str) -> str | None:
    """Return the mark of a database, the same one for the same content; None where it cannot be had at little cost.

    SQLite: the file's change counter (file format, section 1.3.7), with its identity, size and times. PostgreSQL: the current snapshot.
    The same mark before and after a read says that it saw what belongs to the mark.
    """
    if file := sqlite_file(uri):
        return _of_sqlite(file)
    return _of_postgresql(uri) if uri.startswith(("postgresql:", "postgresql+")) else None


def _of_sqlite(file: Path) -> str | None:
    try:
        with file.open("rb") as handle:
            header, state = handle.read(_HEADER_BYTES), os.fstat(handle.fileno())
    except OSError:
        return None
    if len(header) < _HEADER_BYTES or header[18:20] != _ROLLBACK_JOURNAL:
        return None
    counter = int.from_bytes(header[24:28], "big")
    return f"sqlite {state.st_dev} {state.st_ino} {state.st_size} {state.st_mtime_ns} {state.st_ctime_ns} {counter}"


def _of_postgresql(uri: str) -> str | None:
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    try:
        engine = create_engine(uri, poolclass=NullPool)
        with engine.connect() as connection:
            row = connection.execute(text(_POSTGRESQL)).one_or_none()
    except (SQLAlchemyError, ImportError):
        # The reading itself tells what is wrong with the store.
        return None
    return None if row is None else " ".join(map(str, ("postgresql", *row)))
