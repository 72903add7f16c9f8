"""The processes that train one trial together: how they meet, and the few things that they tell each other.

Gradients and partitioned weights travel through DeepSpeed; what travels here is small: flags, sums, texts. Nothing is pickled.
"""

from __future__ import annotations

import json
import logging
import os
import socket
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from typing import Any

import torch
from torch import Tensor, distributed
from torch._C._distributed_c10d import HashStore, PrefixStore, Store, TCPStore

MEETING_SECONDS = 300.0
"""How long the workers of a group wait for each other when it forms."""


@dataclass(frozen=True)
class Group:
    """This process's place among the workers of its group. All workers call the same methods in the same order, `exchange` apart."""

    rank: int = 0
    size: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    """Where what is told must live: the GPU for nccl."""
    store: Store | None = field(default=None, compare=False)

    @property
    def leads(self) -> bool:
        """Whether this is the worker that records what the group does."""
        return self.rank == 0

    def sum_(self, tensor: Tensor) -> Tensor:
        """Replace a tensor by its sum over the workers; return it."""
        if self.size == 1 or not tensor.numel():
            return tensor
        there = tensor.to(self.device)
        distributed.all_reduce(there)
        return tensor if there is tensor else tensor.copy_(there)

    def total(self, number: float) -> float:
        """Return the sum of a number over the workers, in fp64."""
        return float(self.sum_(torch.tensor(number, dtype=torch.float64)))

    def any(self, flag: bool) -> bool:
        """Tell whether a flag is set on some worker."""
        return (self.size > 1 and self.total(flag) > 0) or flag

    def gather(self, value: Any) -> list[Any]:
        """Return every worker's value, JSON-like, by rank."""
        if self.size == 1:
            return [value]
        own = torch.frombuffer(bytearray(json.dumps(value).encode()), dtype=torch.uint8).to(self.device)
        lengths = torch.zeros(self.size, dtype=torch.int64)
        lengths[self.rank] = len(own)
        self.sum_(lengths)
        padded = own.new_zeros(int(lengths.max()))
        padded[: len(own)] = own
        found = [torch.empty_like(padded) for _ in range(self.size)]
        distributed.all_gather(found, padded)
        return [json.loads(part[:length].cpu().numpy().tobytes()) for part, length in zip(found, lengths.tolist(), strict=True)]

    def from_leader(self, value: Any) -> Any:
        """Return the leader's value, JSON-like; what the others pass is not read."""
        return self.gather(value if self.leads else None)[0]

    def tensors_from_leader(self, tensors: dict[str, Tensor] | None) -> dict[str, Tensor]:
        """Return the leader's tensors by name, on the CPU; what the others pass is not read."""
        if self.size == 1:
            return tensors or {}
        outline = [(name, str(t.dtype).removeprefix("torch."), list(t.shape)) for name, t in (tensors or {}).items()]
        found: dict[str, Tensor] = {}
        for name, dtype, shape in self.from_leader(outline):
            values = tensors[name].contiguous() if self.leads and tensors else torch.empty(shape, dtype=getattr(torch, dtype))
            there = values.flatten().view(torch.uint8).to(self.device)
            distributed.broadcast(there, 0)
            found[name] = there.cpu().view(values.dtype).view(values.shape)
        return found

    def barrier(self) -> None:
        """Wait for the others."""
        self.total(0)

    def exchange(self, key: str, value: Any, seconds: float) -> list[Any] | None:
        """Tell the others something beside their collective operations, which they may be stuck in.

        Args:
            key: says what for; a key is used once.
            value: JSON-like.
            seconds: how long to wait for the others.

        Returns:
            What every worker told under this key, by rank; None, on all workers, where one kept silent for too long.

        Raises:
            torch.distributed.DistError: the leader's process has ended.
        """
        if self.store is None:
            return [value]
        keys = [f"{key}/{rank}" for rank in range(self.size)]
        self.store.set(keys[self.rank], json.dumps(value))
        try:
            self.store.wait(keys, timedelta(seconds=seconds))
            found = "all"
        except distributed.DistStoreError:
            found = "silence"
        # The first one to decide decides for all: a worker that has given up must not be taken at its word later.
        if self.store.compare_set(f"{key}/found", "", found) != b"all":
            return None
        return [json.loads(self.store.get(k)) for k in keys]

    def renew(self, key: str) -> None:
        """Form the process group afresh, after a failure that left some workers with collective operations that others never began.

        Args:
            key: used once.
        """
        assert self.store is not None
        library().comm.destroy_process_group()
        _start(PrefixStore(key, self.store), self.rank, self.size)


@cache
def library() -> Any:
    """Return DeepSpeed, imported and silenced."""
    if not torch.cuda.is_available():
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    import deepspeed
    import deepspeed.ops

    # Its CPU communication kernel would be compiled at the first start (26-48 s, needs a compiler, and a kill meanwhile leaves a lock
    # that hangs the next start); gloo does its work.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    logging.getLogger("DeepSpeed").setLevel(logging.WARNING)
    return deepspeed


@cache
def alone() -> Group:
    """Start the group of one, if this process has no group yet: it meets in memory, so that no port is needed."""
    if not distributed.is_initialized():
        _start(HashStore(), 0, 1)
    return Group(device=_device())


def meeting_point(host: str, size: int) -> TCPStore:
    """Open the place where the workers of a group meet: a store that listens on `host` only, at a free port.

    Raises:
        OSError: this machine has no such address.
    """
    family = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)[0][0]
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.bind((host, 0))
        listening.listen()
        port = listening.getsockname()[1]
        # Given a host and a port alone, a store would listen on all addresses.
        return TCPStore(
            host,
            port,
            is_master=True,
            wait_for_workers=False,
            timeout=timedelta(seconds=MEETING_SECONDS),
            master_listen_fd=listening.detach(),
            use_libuv=True,
        )
    except BaseException:
        listening.close()
        raise


def joined(rank: int, size: int, host: str, port: int, own: TCPStore | None = None) -> Group:
    """Form the group: gloo on CPU, nccl on GPU; wait for all workers.

    Args:
        rank: this worker's place.
        size: number of workers.
        host: the address of the meeting point.
        port: its port.
        own: the meeting point, on the worker that opened it.

    Raises:
        RuntimeError: this process belongs to a group already, or a worker did not come in time.
    """
    if distributed.is_initialized():
        raise RuntimeError(f"worker {rank} cannot join a group of {size}: its process belongs to one of {distributed.get_world_size()}")
    waiting = timedelta(seconds=MEETING_SECONDS)
    store: Store = own or TCPStore(host, port, is_master=False, wait_for_workers=False, timeout=waiting, use_libuv=True)
    group = Group(rank, size, _device(), PrefixStore("fairsweep", store))
    if group.exchange("here", rank, MEETING_SECONDS) is None:
        raise RuntimeError(f"worker {rank} waited {MEETING_SECONDS:g} s at {host}:{port}, and not all of the {size} workers came")
    _start(store, rank, size)
    return group


def _start(store: Store, rank: int, size: int) -> None:
    # Every worker sees its own GPU alone.
    os.environ.setdefault("LOCAL_RANK", "0")
    backend = "nccl" if torch.cuda.is_available() else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=size)
    library().init_distributed(dist_init_required=False, verbose=False)


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")
