"""Network namespaces joined by a bridge: machines with addresses of their own, on this machine. Needs root and iproute2."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from functools import cache

SUBNETS = [f"198.18.{number}" for number in range(256)]
"""Of the block for tests of network devices (RFC 2544), which no real network uses."""
GATEWAY = 254


def ip(*arguments: str, check: bool = True) -> str:
    """Run iproute2's `ip` and return what it prints."""
    return subprocess.run(["ip", *arguments], check=check, capture_output=True, text=True, timeout=30).stdout


@cache
def namespaces_available() -> bool:
    """Tell whether this process may make network namespaces and join them."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    probe = f"fsprobe{os.getpid()}"
    try:
        ip("netns", "add", probe)
        ip("link", "add", probe, "type", "bridge")
    except (subprocess.SubprocessError, OSError):
        return False
    finally:
        ip("link", "del", probe, check=False)
        ip("netns", "del", probe, check=False)
    return True


class Network:
    """A bridge with a subnet of its own, and namespaces that hang on it.

    Attributes:
        gateway: this machine's own address on the bridge: what listens there is reached from every namespace, and from nowhere else.
    """

    def __init__(self, tag: str) -> None:
        self.bridge, self._tag = f"fs{tag}", tag
        used = {address["local"].rpartition(".")[0] for link in json.loads(ip("-j", "-4", "addr")) for address in link["addr_info"]}
        self._subnet = next(subnet for subnet in SUBNETS if subnet not in used)
        self.gateway = f"{self._subnet}.{GATEWAY}"
        ip("link", "add", self.bridge, "type", "bridge")
        ip("addr", "add", f"{self.gateway}/24", "dev", self.bridge)
        ip("link", "set", self.bridge, "up")

    def address(self, number: int) -> str:
        """Return the address of a namespace."""
        return f"{self._subnet}.{number + 1}"

    def namespace(self, number: int) -> str:
        """Return the name of a namespace."""
        return f"{self.bridge}-{number}"

    def add(self, number: int) -> None:
        """Make a namespace and connect it."""
        name, outer, inner = self.namespace(number), f"{self.bridge}o{number}", f"{self.bridge}i{number}"
        ip("netns", "add", name)
        ip("-n", name, "link", "set", "lo", "up")
        ip("link", "add", outer, "type", "veth", "peer", "name", inner, "netns", name)
        ip("-n", name, "addr", "add", f"{self.address(number)}/24", "dev", inner)
        ip("-n", name, "link", "set", inner, "up")
        ip("link", "set", outer, "master", self.bridge, "up")
        # Programs learn their own address from the route that a packet to the world would take.
        ip("-n", name, "route", "add", "default", "via", self.gateway)


def remove_network(bridge: str) -> None:
    """Remove a bridge and its namespaces, as far as they are there; what still runs in these is ended."""
    for name in namespaces_of(bridge):
        for process in ip("netns", "pids", name, check=False).split():
            subprocess.run(["kill", "-9", process], check=False, capture_output=True)
        ip("netns", "del", name, check=False)
    ip("link", "del", bridge, check=False)


def namespaces_of(bridge: str) -> list[str]:
    """Return the namespaces that hang on a bridge."""
    return [line.split()[0] for line in ip("netns", "list", check=False).splitlines() if line.startswith(f"{bridge}-")]
