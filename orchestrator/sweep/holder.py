"""Who runs a sweep: what a second driver is told, and what tells whether the first one is still there."""

from __future__ import annotations

import json
import os
import socket
import uuid
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import psutil


@dataclass(frozen=True)
class Holder:
    """A driver that holds, or wants to hold, a sweep's lock."""

    host: str
    process: int
    since: str
    """When the run began, in UTC."""
    machine: str
    """The same for all processes whose ids can be compared: the boot of a machine, and the container in it."""
    born: float
    """Unix time at which the process began, since ids are given again."""
    nonce: str
    """Tells this run from all others."""

    @classmethod
    def this(cls, started: float) -> Holder:
        """Return the holder that this process is.

        Args:
            started: Unix time in seconds at which the run began.
        """
        since = datetime.fromtimestamp(started, UTC).isoformat(timespec="seconds")
        born = psutil.Process().create_time()
        return cls(socket.gethostname(), os.getpid(), since, _machine(), born, uuid.uuid4().hex)

    @classmethod
    def parse(cls, content: bytes | None) -> Holder | None:
        """Return the holder that a file names, or None where it cannot be read as one."""
        try:
            document = json.loads(content or b"")
            return cls(**{name: document[name] for name in cls.__dataclass_fields__})
        except (ValueError, KeyError, TypeError):
            return None

    def to_json(self, **more: int) -> bytes:
        """Return the content of a file that names this holder."""
        return json.dumps({**asdict(self), **more}).encode()

    def is_gone(self) -> bool:
        """Tell whether its process was on this machine and has ended; False where that cannot be known from here."""
        if self.machine != _machine():
            return False
        try:
            return abs(psutil.Process(self.process).create_time() - self.born) > 1
        except psutil.NoSuchProcess:
            return True

    def __str__(self) -> str:
        return f"process {self.process} on {self.host} since {self.since}"


def _machine() -> str:
    try:
        with open("/proc/sys/kernel/random/boot_id") as file:
            return f"{file.read().strip()}.{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return f"{socket.gethostname()}.{uuid.getnode():x}"
