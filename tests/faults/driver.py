"""One start of `fairsweep run` as a user starts it: a process of its own, its answer and its messages in files."""

from __future__ import annotations

import json
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

COMPLAINTS = ("Traceback (most recent call last)", "internal error")
"""What no user is to see, whatever befalls a sweep."""


@dataclass
class Driver:
    """A driver that runs or has ended.

    Attributes:
        number: of this start, from 1.
        before: trials that had an Outcome when it started.
    """

    number: int
    process: subprocess.Popen[Any]
    answer: Path
    errors: Path
    before: frozenset[str]

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    @property
    def code(self) -> int | None:
        return self.process.poll()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, unless it has ended."""
        self.process.send_signal(number)

    def error_text(self) -> str:
        return self.errors.read_text(errors="replace")

    def document(self) -> dict[str, Any]:
        """Return what it answered; empty where it did not get so far."""
        text = self.answer.read_text()
        return dict(json.loads(text)) if text.strip() else {}

    def complaints(self) -> list[str]:
        """Return the lines of its errors that no user is to see."""
        return [line.strip() for line in self.error_text().splitlines() if any(words in line for words in COMPLAINTS)]
