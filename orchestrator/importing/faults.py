"""What is wrong with a file that is to be imported."""

from __future__ import annotations

from collections.abc import Sequence

from search_spaces.errors import FairsweepError, Fault

SHOWN = 20
"""Faults that a message lists; the rest are counted."""


class ImportedFileError(FairsweepError):
    """A file cannot be imported; nothing of it was.

    Attributes:
        faults: what is wrong, each at its line and column, or its key.
    """

    def __init__(self, source: str, faults: Sequence[Fault]) -> None:
        self.faults = tuple(faults)
        noun = "fault" if len(faults) == 1 else "faults"
        lines = [f"{source}: {len(faults)} {noun}; nothing was imported", *(f"  {fault}" for fault in faults[:SHOWN])]
        more = [f"  and {len(faults) - SHOWN} more"] if len(faults) > SHOWN else []
        super().__init__("\n".join([*lines, *more]))
