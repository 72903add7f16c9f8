"""A folder of what can be made again, kept below a size."""

from __future__ import annotations

import contextlib
import shutil
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class BoundedFolder:
    """A folder whose entries, files or folders, give way from the one on that was changed longest ago.

    Attributes:
        folder: may not be there yet.
        most_bytes: largest size of all entries together.
    """

    folder: Path
    most_bytes: int

    def prune(self) -> None:
        """Remove entries until the rest is small enough; hidden ones, which are being written or are locks, stay."""
        with contextlib.suppress(FileNotFoundError):
            entries = sorted((entry.stat().st_mtime, entry) for entry in self.folder.iterdir() if not entry.name.startswith("."))
            left = self.most_bytes
            for _, entry in reversed(entries):
                left -= _size(entry)
                if left < 0:
                    _remove(entry)


def _size(entry: Path) -> int:
    if not entry.is_dir():
        return entry.stat().st_size
    return sum(file.stat().st_size for file in entry.rglob("*") if file.is_file())


def _remove(entry: Path) -> None:
    if entry.is_dir():
        shutil.rmtree(entry, ignore_errors=True)
    else:
        entry.unlink(missing_ok=True)
