"""The network between nodes: which interface holds a node's address, and whether a node's free ports can be reached."""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import psutil
from pydantic import BaseModel, ConfigDict

LISTEN_SECONDS = 120.0
CONNECT_SECONDS = 5.0
_CONNECTIONS = 32
"""Connections that are tried at the same time."""


class Interface(BaseModel):
    """A network interface, which gloo and nccl are told by name.

    Attributes:
        name: as the system calls it, such as eth0.
        address: the address that was asked for.
        loopback: whether only this machine can reach it.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    address: str
    loopback: bool


def interface_of(address: str) -> Interface | None:
    """Return the interface that holds an address of this machine; None where none does."""
    for name, held in psutil.net_if_addrs().items():
        if any(entry.address.partition("%")[0] == address for entry in held if entry.family in (socket.AF_INET, socket.AF_INET6)):
            return Interface(name=name, address=address, loopback=is_loopback(address))
    return None


def is_loopback(address: str) -> bool:
    """Tell whether an address, or the name localhost, is reached from the same machine only."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return address == "localhost"


def listen(host: str) -> int:
    """Accept connections on a free port of an address for two minutes, as a group's first worker does; return the port."""
    listener = socket.create_server((host, 0), family=_family(host))
    listener.settimeout(LISTEN_SECONDS)
    threading.Thread(target=_accept, args=(listener,), daemon=True).start()
    return int(listener.getsockname()[1])


def reach(places: Iterable[tuple[str, int]]) -> dict[str, str]:
    """Connect to other nodes; return host -> reason for those that cannot be reached."""
    with ThreadPoolExecutor(_CONNECTIONS) as pool:
        tried = list(pool.map(_connect, places))
    return {host: reason for host, reason in tried if reason}


def _accept(listener: socket.socket) -> None:
    with contextlib.suppress(OSError), listener:
        while True:
            connection, _ = listener.accept()
            connection.close()


def _connect(place: tuple[str, int]) -> tuple[str, str]:
    try:
        socket.create_connection(place, timeout=CONNECT_SECONDS).close()
    except OSError as error:
        return place[0], error.strerror or str(error)
    return place[0], ""


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
