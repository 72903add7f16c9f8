"""A lock in an object store, which has none: a file that its holder writes again and again, and that counts as long as it changes.

It guards against waste, not against wrong results: of two drivers that run one sweep for a while, each trial keeps the Outcome that was
whole first. A driver that stood still for longer than the lease finds its file gone, and stops.
"""

from __future__ import annotations

import logging
import os
import random
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from orchestrator.sweep.holder import Holder
from search_spaces.errors import BusyError, StorageError
from trainers.storage import Storage

log = logging.getLogger(__name__)

BEAT_SECONDS = 10.0
"""Between two writes of the file of a driver that lives."""
LEASE_SECONDS = 60.0
"""A file that has not changed for so long is of a driver that is gone."""
LOOK_SECONDS = 1.0
ROUNDS = 20
"""How often drivers that come at the same moment step back before one of them gives up."""


class Held(BusyError):
    """Another driver holds the lease: its description."""


@contextmanager
def lease(claims: Storage, name: str, holder: Holder) -> Iterator[None]:
    """Hold the lease of the folder `claims` by a file of this name in it.

    Raises:
        Held: another driver's file is there, and changes.
        StorageError: the store cannot be reached or written.
    """
    mine = claims / name
    _acquire(claims, mine, holder)
    ended = Event()
    beat = Thread(target=_beat, args=(mine, holder, ended), name="sweep-lease", daemon=True)
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join()
        _remove(mine)


def _acquire(claims: Storage, mine: Storage, holder: Holder) -> None:
    """Write first and look then: of two that do so at the same time at least one sees the other, and none goes on that sees one."""
    for _ in range(ROUNDS):
        mine.write(holder.to_json(beat=0))
        rivals = _rivals(claims, mine.name)
        if not rivals:
            return
        _remove(mine)
        _outlive(claims, rivals)
        time.sleep(random.uniform(0, 2 * LOOK_SECONDS))
    raise Held("other drivers that start at the same time")


def _rivals(claims: Storage, mine: str) -> dict[str, bytes]:
    """Return the files of other drivers; those of which it is known here that they are gone are removed."""
    found = {}
    for name in claims.names():
        content = (claims / name).read() if name != mine else None
        rival = Holder.parse(content)
        if rival is not None and rival.is_gone():
            (claims / name).remove()
        elif content is not None:
            found[name] = content
    return found


def _outlive(claims: Storage, rivals: dict[str, bytes]) -> None:
    """Watch other drivers' files: return when they are gone, and remove those that stay unchanged for the length of a lease.

    Raises:
        Held: one changes, so its driver lives.
    """
    names = "; ".join(str(Holder.parse(content) or name) for name, content in rivals.items())
    log.warning("waiting up to %g s to see whether the sweep is still being run by %s", LEASE_SECONDS, names)
    end = time.monotonic() + LEASE_SECONDS
    while time.monotonic() < end:
        time.sleep(LOOK_SECONDS)
        now = {name: (claims / name).read() for name in rivals}
        for name, content in now.items():
            if content is not None and content != rivals[name]:
                raise Held(str(Holder.parse(content) or "another process"))
        if not any(now.values()):
            return
    for name in rivals:
        (claims / name).remove()


def _beat(mine: Storage, holder: Holder, ended: Event) -> None:
    count = 0
    while not ended.wait(BEAT_SECONDS):
        count += 1
        try:
            if mine.read() is None:
                log.error("another driver took this one for gone and runs the sweep now; this one stops")
                # A signal, unlike `interrupt_main`, also ends a wait.
                os.kill(os.getpid(), signal.SIGINT)
                return
            mine.write(holder.to_json(beat=count))
        except StorageError as error:
            log.warning("the lease of the sweep could not be renewed: %s", error)


def _remove(mine: Storage) -> None:
    try:
        mine.remove()
    except StorageError as error:
        log.warning("the lease of the sweep runs out by itself: %s", error)
