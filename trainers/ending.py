"""How a trial ends on one worker: what was raised, and what that says of the trial."""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch

from search_spaces.errors import FairsweepError, StorageError
from trainers.dealing import TimeLimit
from trainers.loop import Diverged
from trainers.redaction import redacted, traceback_text
from trainers.results import Job, Status
from trainers.storage import FULL, storage_error

log = logging.getLogger(__name__)


class Desynchronised(Exception):
    """The workers of a group did not end alike: what one of them suffers is no result of the trial."""


@dataclass
class Ending:
    """How a trial ended on one worker."""

    status: Status
    error: str | None = None
    failure: Exception | None = None
    """What was raised."""
    raised: bool = False
    """Whether it is raised again, since it says nothing of the trial."""

    @property
    def in_step(self) -> bool:
        """Whether the workers are surely in step afterwards, so that the next trial may go on from here."""
        return self.failure is None or isinstance(self.failure, (Diverged, TimeLimit, FairsweepError))


def ending_of(error: Exception, job: Job) -> Ending:
    """Return how a trial ended that raised an error: whatever a trial does wrong is its Outcome."""
    if isinstance(error, Diverged):
        return Ending("diverged", str(error), error)
    if isinstance(error, (MemoryError, torch.cuda.OutOfMemoryError)):
        return Ending("out_of_memory", repr(error), error)
    if isinstance(error, StorageError):
        return Ending("error", str(error), error, raised=True)
    if isinstance(error, (TimeLimit, FairsweepError)):
        return Ending("error", str(error), error)
    if isinstance(error, OSError):
        if error.errno in FULL:
            return Ending("error", str(error), storage_error(job.storage, error), raised=True)
        return Ending("error", traceback_text(error), error)
    log.warning("trial %s failed: %s", job.trial.id, redacted(repr(error)))
    return Ending("out_of_memory" if _is_allocation_failure(error) else "error", traceback_text(error), error)


def _is_allocation_failure(error: Exception) -> bool:
    return isinstance(error, RuntimeError) and ("can't allocate memory" in str(error) or "out of memory" in str(error).lower())
