"""Keeps stdout for the answer alone: whatever libraries print goes to stderr."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import TextIO

from trainers.redaction import redacted


@contextlib.contextmanager
def answer_stream(debug: bool = False) -> Iterator[TextIO]:
    """Redirect file descriptor 1 to stderr, also for native code and child processes, and yield the real stdout.

    Args:
        debug: let log messages and warnings of all libraries through.
    """
    quieten(debug)
    try:
        descriptor = os.dup(sys.stdout.fileno())
    except (io.UnsupportedOperation, AttributeError):
        # Captured by a test runner or embedded elsewhere: only Python's own stream can be redirected.
        real = sys.stdout
        with contextlib.redirect_stdout(sys.stderr):
            yield real
        return
    sys.stdout.flush()
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
        try:
            yield stream
        finally:
            sys.stdout.flush()
            stream.flush()
            os.dup2(stream.fileno(), sys.stdout.fileno())


def safe(text: str) -> str:
    """Return a text as it may be written to a terminal or a log: without secrets, and without control codes, which a server may send."""
    return "".join(character if character.isprintable() or character in "\n\t" else " " for character in redacted(text))


class SafeFormatter(logging.Formatter):
    """Formats log records, their stack traces included, so that they may be shown."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as a safe text."""
        return safe(super().format(record))


def quieten(debug: bool) -> None:
    """Show our own warnings, and of other libraries errors only."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(SafeFormatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(level=logging.INFO if debug else logging.ERROR, handlers=[handler])
    for room in ("orchestrator", "cluster", "trainers", "search_spaces"):
        logging.getLogger(room).setLevel(logging.DEBUG if debug else logging.WARNING)
    if not debug:
        warnings.filterwarnings("ignore")
        os.environ.setdefault("PYTHONWARNINGS", "ignore")
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
