"""What was read from files."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.leaderboard.analysis import Reference


@dataclass(frozen=True)
class Imported:
    """Results that were read, and those that were not.

    Attributes:
        form: `peft-results` or `csv`.
        left_out: file name -> why nothing of it was read.
    """

    form: str
    references: tuple[Reference, ...]
    left_out: dict[str, str]
