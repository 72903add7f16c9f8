"""What a machine says of itself: library versions, code, processors, memory, free disk and the way to its address."""

from __future__ import annotations

import hashlib
import importlib.util
import platform
import shutil
import socket
from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import psutil
from pydantic import BaseModel, ConfigDict

from cluster.cores import usable_cores
from cluster.network import Interface, interface_of

ROOMS = ("search_spaces", "trainers", "orchestrator", "cluster")
"""The packages whose code must be the same on every node."""
_MEMORY_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


class Disk(BaseModel):
    """The disk that a folder lies on, or would lie on.

    Attributes:
        folder: the folder, or the nearest one above it that exists.
    """

    model_config = ConfigDict(frozen=True)

    folder: str
    free_bytes: int
    total_bytes: int


class Machine(BaseModel):
    """One machine. It travels between nodes as plain JSON, since their code may differ.

    Attributes:
        hostname: the machine's own name.
        versions: version by library, `python` among them; what is not installed is left out.
        code: digest of fairsweep's own modules.
        cpus: cores that this process may keep busy, at most the limit of the container.
        memory_bytes: memory, at most the limit of the container.
        available_bytes: memory that can be had without swapping.
        disks: by what they are used for.
        interface: the network interface that holds the node's address; None without an address, or where no interface holds it.
    """

    model_config = ConfigDict(frozen=True)

    hostname: str
    versions: dict[str, str]
    code: str
    cpus: int
    memory_bytes: int
    available_bytes: int
    disks: dict[str, Disk]
    interface: Interface | None = None


def examine(libraries: Iterable[str], folders: Mapping[str, str], address: str | None = None) -> dict[str, Any]:
    """Return what this machine is, as JSON of a `Machine`.

    Args:
        libraries: names of distributions whose versions are reported.
        folders: use -> folder whose disk is reported.
        address: the machine's address in its cluster.
    """
    memory = psutil.virtual_memory()
    limit = _memory_limit()
    return Machine(
        hostname=socket.gethostname(),
        versions={"python": platform.python_version(), **_versions(libraries)},
        code=code_digest(),
        cpus=usable_cores(),
        memory_bytes=min(memory.total, limit),
        available_bytes=min(memory.available, limit),
        disks={use: disk_of(folder) for use, folder in folders.items()},
        interface=interface_of(address) if address else None,
    ).model_dump()


def disk_of(folder: str | Path) -> Disk:
    """Return the disk of a folder that need not exist yet."""
    path = Path(folder).absolute()
    while not path.is_dir() and path != path.parent:
        path = path.parent
    usage = shutil.disk_usage(path)
    return Disk(folder=str(path), free_bytes=usage.free, total_bytes=usage.total)


def code_digest(rooms: Iterable[str] = ROOMS) -> str:
    """Return a digest of the Python modules of some packages, found without importing them."""
    hasher = hashlib.sha256()
    for room in rooms:
        found = importlib.util.find_spec(room)
        for place in found.submodule_search_locations or () if found else ():
            for file in sorted(Path(place).rglob("*.py")):
                hasher.update(f"{room}/{file.relative_to(place).as_posix()}\0".encode() + file.read_bytes())
    return hasher.hexdigest()[:16]


def _versions(libraries: Iterable[str]) -> dict[str, str]:
    found = {}
    for library in libraries:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def _memory_limit() -> int:
    """Return the container's limit in bytes, which the system's own figures leave out."""
    for file in map(Path, _MEMORY_LIMITS):
        if file.is_file() and (text := file.read_text().strip()).isdigit():
            return int(text)
    return 2**63
