"""A small worker for the fleet's tests: it trains nothing, and fails as its job says."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any


class Stub:
    """Notes what happens to it in a folder, one file for each event and process."""

    def __init__(self, folder: str, fail_on_prepare: str = "") -> None:
        self._folder, self._fail_on_prepare = Path(folder), fail_on_prepare
        self._peers: list[socket.socket] = []
        self._server: socket.socket | None = None
        self._rank, self._size = 0, 1

    def serve_rendezvous(self, host: str, size: int) -> int:
        self._server = socket.create_server((host, 0))
        return int(self._server.getsockname()[1])

    def join(self, rank: int, size: int, host: str, port: int) -> None:
        self._rank, self._size = rank, size
        interfaces = [os.environ[name] for name in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")]
        self._note("joined", " ".join([str(rank), str(size), host, *interfaces]))
        if self._server is not None:
            self._peers = [self._server.accept()[0] for _ in range(size - 1)]
        else:
            self._peers = [socket.create_connection((host, port), timeout=30)]

    def prepare(self, *needs: Any) -> None:
        self._note("prepared", repr(needs))
        if self._fail_on_prepare:
            from search_spaces.errors import ModelError

            raise ModelError(self._fail_on_prepare)

    def process_id(self) -> int:
        return os.getpid()

    def variable(self, name: str) -> str | None:
        return os.environ.get(name)

    def run(self, job: dict[str, Any], report: Callable[[Any], None]) -> str:
        """Take `steps` steps, with the other ranks unless `alone`; at step 1, `do` what the job says to one `rank`."""
        self._note("ran", f"{job.get('name')} {self._rank}")
        for step in range(job.get("steps", 3)):
            if not job.get("silent"):
                report(step)
            time.sleep(job.get("seconds", 0.01))
            if step == 1 and job.get("rank", 0) == self._rank:
                self._act(job.get("do", ""))
            if not job.get("alone"):
                self._meet()
        return "finished"

    def _act(self, what: str) -> None:
        if what == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif what == "stop":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif what == "raise":
            raise RuntimeError("planted")
        elif what == "starve":
            raise MemoryError
        elif what == "linger":
            time.sleep(3600)

    def _meet(self) -> None:
        """Wait for every rank, as a collective does."""
        for peer in self._peers:
            peer.sendall(b"x")
        for peer in self._peers:
            if not peer.recv(1):
                raise ConnectionError("a peer is gone")

    def _note(self, event: str, text: str) -> None:
        with suppress(OSError):
            (self._folder / f"{event}.{os.getpid()}.{time.time_ns()}").write_text(text)
