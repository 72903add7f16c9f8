"""Keeps encodings as Arrow files, which processes share: a file is there whole or not at all."""

from __future__ import annotations

import contextlib
import os
import uuid
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
from pyarrow import feather

from search_spaces.errors import StorageError


def cached(folder: Path | None, name: str, build: Callable[[], pa.Table]) -> pa.Table:
    """Return the table of a name, from its file where there is one, else built and written.

    Args:
        folder: where the files are; None keeps none.
        name: file name without its ending; it must change when the content would.
        build: makes the table.

    Raises:
        StorageError: the file cannot be written.
    """
    if folder is None:
        return build()
    path = folder / f"{name}.arrow"
    table = _read(path)
    if table is None:
        table = build()
        _write(path, table)
    return table


def _read(path: Path) -> pa.Table | None:
    try:
        return feather.read_table(path, memory_map=True)
    except FileNotFoundError:
        return None
    except (pa.ArrowInvalid, OSError):
        # Damaged: it is written anew.
        return None


def _write(path: Path, table: pa.Table) -> None:
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        feather.write_feather(table, draft, compression="uncompressed")
        os.replace(draft, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise StorageError(
            f"cannot write the cache of tokenised data {path}: {error.strerror or error}. Fix: free space there, or move the cache"
        ) from error
