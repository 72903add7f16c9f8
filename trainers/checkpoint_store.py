"""Where a trial's checkpoints are kept: made on this machine, published as a whole, the one before kept beside the newest."""

from __future__ import annotations

import logging
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from search_spaces.errors import StorageError
from trainers.outcomes import folders_at
from trainers.storage import DamagedError, Storage

log = logging.getLogger(__name__)

KEPT = 2
"""Checkpoints of a trial that are kept: the newest, and the one that takes its place when it turns out to be damaged."""


class CheckpointStore:
    """Reads and writes `<storage>/<sweep>/checkpoints/<trial id>/<step>/`.

    Args:
        place: the trial's folder.
    """

    def __init__(self, place: Storage) -> None:
        self.place = place
        self._folders = folders_at(place)

    def save(self, step: int, write: Callable[[Path], object]) -> None:
        """Publish a checkpoint, and remove those that it makes superfluous.

        Args:
            step: optimiser steps taken.
            write: writes the checkpoint's files into an empty folder of this machine.

        Raises:
            StorageError, OSError: it could not be written; those before are as they were.
        """
        name, attempt = f"{step:09d}", uuid.uuid4().hex[:8]
        staging = self._folders.staging(name, attempt)
        try:
            write(staging)
            self._folders.publish(staging, name, attempt)
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        for superfluous in self._folders.names()[:-KEPT]:
            self._folders.remove(superfluous)

    @contextmanager
    def newest(self) -> Iterator[Path | None]:
        """Give the files of the newest sound checkpoint for the length of a `with` block, or None where there is none.

        A damaged one is removed, so that the step it was written at can be saved anew.

        Raises:
            StorageError: the storage cannot be read.
        """
        self._folders.sweep_up()
        with ExitStack() as stack:
            yield self._opened(stack)

    def _opened(self, stack: ExitStack) -> Path | None:
        for name in reversed(self._folders.names()):
            try:
                return stack.enter_context(self._folders.files(name))
            except DamagedError as error:
                log.warning("damaged checkpoint at step %d, going on from the one before: %s", int(name), error)
                self._folders.remove(name)
        return None

    def remove(self) -> None:
        """Remove all checkpoints of the trial and what interrupted attempts left of them; fine when there is none."""
        try:
            self.place.remove()
        except StorageError as error:
            # The trial is done, and goes without.
            log.warning("checkpoints of a finished trial stay behind: %s", error)
