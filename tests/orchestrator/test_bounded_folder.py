"""A folder of what can be made again stays small."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.bounded_folder import BoundedFolder


def entry(folder: Path, name: str, age: int, size: int = 100) -> Path:
    path = folder / name
    if name.endswith("/"):
        path.mkdir()
        (path / "file").write_bytes(b"x" * size)
    else:
        path.write_bytes(b"x" * size)
    os.utime(path, (1_700_000_000 - age, 1_700_000_000 - age))
    return path


def test_the_oldest_entries_give_way(tmp_path: Path) -> None:
    old, older, new = entry(tmp_path, "old/", 20), entry(tmp_path, "older", 30), entry(tmp_path, "new", 10)
    lock = entry(tmp_path, ".lock", 99, size=1000)
    BoundedFolder(tmp_path, 200).prune()
    assert (old.is_dir(), older.exists(), new.exists(), lock.exists()) == (True, False, True, True)
    BoundedFolder(tmp_path, 50).prune()
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


def test_a_folder_that_is_not_there_is_small_enough(tmp_path: Path) -> None:
    BoundedFolder(tmp_path / "none", 1).prune()
    assert not (tmp_path / "none").exists()
