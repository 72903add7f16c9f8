"""Reading files that others wrote: as data only, and no more of them than fits."""

from __future__ import annotations

from pathlib import Path

from orchestrator.importing.faults import ImportedFileError
from search_spaces.errors import Fault

LIMIT_BYTES = 8 * 2**20
"""Of one file. The largest results of the kinds that are imported have less than a hundredth of it."""


def text_of(path: Path) -> str:
    """Return a file's text, which is UTF-8, with or without a byte-order mark.

    Raises:
        ImportedFileError: it cannot be read, is no file, is too large, or holds something else than text.
    """
    try:
        if not path.is_file():
            raise ImportedFileError(str(path), [Fault("", "there is no such file" if not path.exists() else "it is no file")])
        with path.open("rb") as file:
            content = file.read(LIMIT_BYTES + 1)
        if len(content) > LIMIT_BYTES:
            raise ImportedFileError(str(path), [Fault("", f"it has more than {LIMIT_BYTES:,} bytes", "split it")])
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise ImportedFileError(str(path), [Fault(f"line {line}", "it is not UTF-8", "save it as UTF-8")]) from error
    except OSError as error:
        raise ImportedFileError(str(path), [Fault("", f"it cannot be read: {error.strerror or error}")]) from error
