"""Workers of one group, each a real process on this machine that talks over loopback.

with WorkerGroup(2) as group:
    group.run(job)            # the status that all workers returned
    group.run(job, fail_at={1: 3})    # worker 1 raises once step 3 is reported
"""

from __future__ import annotations

import importlib
import os
import traceback
from collections.abc import Mapping
from multiprocessing.connection import Connection
from typing import Any

import torch.multiprocessing as multiprocessing

LOOPBACK = "127.0.0.1"
ANSWER_SECONDS = 300.0


class Raised(Exception):
    """What a worker raised: its type's name, its text, and its traceback."""

    def __init__(self, kind: str, text: str, trace: str) -> None:
        self.kind, self.text, self.trace = kind, text, trace
        super().__init__(kind, text, trace)

    def __str__(self) -> str:
        return f"{self.kind}: {self.text}\n{self.trace}"


class Killed(BaseException):
    """Stands for the end of a process."""


class WorkerGroup:
    """The processes of a group; they end with the `with` block.

    Args:
        size: number of workers.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._connections: list[Connection] = []
        self._processes: list[Any] = []

    def __enter__(self) -> WorkerGroup:
        context = multiprocessing.get_context("spawn")
        for _ in range(self.size):
            here, there = context.Pipe()
            process = context.Process(target=_serve, args=(there,), daemon=True)
            process.start()
            self._connections.append(here)
            self._processes.append(process)
        port = self.call_one(0, "serve_rendezvous", LOOPBACK, self.size)
        for rank, connection in enumerate(self._connections):
            connection.send(("join", (rank, self.size, LOOPBACK, port), {}))
        self.answers()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.join()

    @property
    def process_ids(self) -> list[int]:
        """Ids of the processes, by rank."""
        return [process.pid for process in self._processes]

    def call_one(self, rank: int, name: str, *arguments: Any) -> Any:
        """Call a method of one worker and return what it returns."""
        self._connections[rank].send((name, arguments, {}))
        return _value(self.answer(rank))

    def call(self, name: str, *arguments: Any, **options: Any) -> list[Any]:
        """Call a method of all workers at once; return what they return, or the `Raised` that they raised."""
        self.begin(name, *arguments, **options)
        return self.answers()

    def begin(self, name: str, *arguments: Any, **options: Any) -> None:
        """Call a method of all workers at once, without waiting."""
        for connection in self._connections:
            connection.send((name, arguments, options))

    def run(self, job: Any, fail_at: Mapping[int, int] | None = None, kill_at: int | None = None) -> str:
        """Run a job, and return the status, which is the same on all workers.

        Args:
            fail_at: by rank, the step at which the worker raises.
            kill_at: the step at which all are ended, as far as the trial can tell.

        Raises:
            Raised: what the first worker that raised has raised.
        """
        statuses = [_value(answer) for answer in self.call("run", job, fail_at=dict(fail_at or {}), kill_at=kill_at)]
        assert len(set(statuses)) == 1, statuses
        return str(statuses[0])

    def set(self, name: str, value: Any) -> None:
        """Set a module's variable, such as `trainers.loop:CHECKPOINT_SECONDS`, in all processes."""
        self.call("set", name, value)

    def answers(self) -> list[Any]:
        """Return the answers of all workers."""
        return [self.answer(rank) for rank in range(self.size)]

    def answer(self, rank: int) -> Any:
        """Return what a worker's call returned, or the `Raised` that it raised.

        Raises:
            TimeoutError: it does not answer.
        """
        if not self._connections[rank].poll(ANSWER_SECONDS):
            raise TimeoutError(f"worker {rank} did not answer within {ANSWER_SECONDS:g} s")
        return self._connections[rank].recv()


def _value(answer: Any) -> Any:
    if isinstance(answer, Raised):
        raise answer
    return answer


def _serve(connection: Connection) -> None:
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    from trainers.worker import Worker

    served = _Served(Worker(threads=1))
    while True:
        name, arguments, options = connection.recv()
        try:
            answer = getattr(served, name, None) or getattr(served.worker, name)
            connection.send(answer(*arguments, **options))
        except BaseException as error:  # noqa: BLE001  what a worker raises is its answer
            raised = Raised(type(error).__name__, str(error), "".join(traceback.format_exception(error))[-3000:])
            connection.send(raised)


class _Served:
    def __init__(self, worker: Any) -> None:
        self.worker = worker

    def run(self, job: Any, fail_at: Mapping[int, int], kill_at: int | None) -> Any:
        rank = self.worker.group.rank

        def report(progress: Any) -> None:
            if progress.loss is not None and progress.step == kill_at:
                raise Killed
            if progress.loss is not None and progress.step == fail_at.get(rank):
                raise ValueError(f"worker {rank} was made to fail")

        return self.worker.run(job, report)

    def set(self, name: str, value: Any) -> None:
        module, _, variable = name.partition(":")
        setattr(importlib.import_module(module), variable, value)

    def resident_bytes(self) -> int:
        """Return the resident set of the process, after a collection."""
        import gc

        import psutil

        gc.collect()
        return int(psutil.Process().memory_info().rss)

    def listening(self) -> list[str]:
        """Return the addresses that the process listens on."""
        import psutil

        return [c.laddr.ip for c in psutil.Process().net_connections("inet") if c.status == psutil.CONN_LISTEN]

    def held_numbers(self) -> int:
        """Return how many of the base's numbers the worker holds."""
        from trainers.adapters.partition import held

        return sum(held(p).numel() for p in self.worker._base.model.parameters())
