"""The body of a fleet actor: one process that holds a worker, whose methods are called by name."""

from __future__ import annotations

import importlib
import logging
import os
from collections.abc import Mapping
from typing import Any

import ray

from cluster.network import interface_of

log = logging.getLogger(__name__)

INTERFACE_VARIABLES = ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME")


class Member:
    """One rank of a group: an object made from a factory's name.

    It runs as many jobs at once as its concurrency group `lanes` has threads.

    Args:
        factory: as `module:name`.
        arguments: keyword arguments of the factory.
    """

    def __init__(self, factory: str, arguments: Mapping[str, Any]) -> None:
        self._address = ray.util.get_node_ip_address()
        use_interface_of(self._address)
        module, _, name = factory.partition(":")
        self._worker = getattr(importlib.import_module(module), name)(**arguments)
        self._progress: dict[str, Any] = {}
        self._signs: dict[str, int] = {}

    def call(self, name: str, *arguments: Any) -> Any:
        """Call a method of the worker."""
        return getattr(self._worker, name)(*arguments)

    @ray.method(concurrency_group="lanes")  # type: ignore[untyped-decorator]
    def run(self, job: Any, lane: str = "") -> Any:
        """Run a job, remembering its signs of life.

        Args:
            lane: names this run among those that go on at the same time.
        """

        def remember(progress: Any) -> None:
            self._progress[lane] = progress
            self._signs[lane] = self._signs.get(lane, 0) + 1

        try:
            return self._worker.run(job, remember)
        finally:
            self._progress.pop(lane, None)
            self._signs.pop(lane, None)

    @ray.method(concurrency_group="signals")  # type: ignore[untyped-decorator]
    def progress(self) -> list[Any]:
        """Return the last sign of life of each running job that has given one; answers while jobs run."""
        return list(self._progress.copy().values())

    @ray.method(concurrency_group="signals")  # type: ignore[untyped-decorator]
    def signs(self, lane: str = "") -> int:
        """Return the number of signs of life that a running job has given so far."""
        return self._signs.get(lane, 0)

    @ray.method(concurrency_group="signals")  # type: ignore[untyped-decorator]
    def address(self) -> str:
        """Return the address of the node."""
        return str(self._address)


def use_interface_of(address: str) -> None:
    """Let gloo and nccl talk over the interface that holds an address of this node, unless the node's environment names another one.

    Left alone, gloo takes what the host's name resolves to: often loopback, which the other nodes do not reach.
    """
    interface = interface_of(address)
    if interface is None:
        log.warning("no network interface holds the node's address %s; set %s on it", address, " and ".join(INTERFACE_VARIABLES))
        return
    for variable in INTERFACE_VARIABLES:
        os.environ.setdefault(variable, interface.name)
