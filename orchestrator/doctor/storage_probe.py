"""Tries the storage: the driver writes a file, every node reads it and writes one of its own, the driver reads them all."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cluster.questions import Examiners, Node, Question
from search_spaces.errors import StorageError

if TYPE_CHECKING:
    from trainers.storage import Storage

CONTENT_BYTES = 64 * 2**10
VISIT = "orchestrator.doctor.storage_probe:visit"


@dataclass(frozen=True)
class StorageProbe:
    """What happened.

    Attributes:
        place: the storage that was tried, without the query of a URI; empty when none was.
        error: why the driver itself cannot use it; empty when it can.
        problems: node name -> why the node cannot, or that it writes to another place than the driver.
    """

    place: str = ""
    error: str = ""
    problems: Mapping[str, str] = field(default_factory=dict)


def probe(location: str, examiners: Examiners) -> StorageProbe:
    """Write and read from the driver and from every node; all of it is removed."""
    from trainers.storage import Storage

    try:
        place = Storage.at(location)
    except StorageError as error:
        return StorageProbe(location, error=str(error))
    try:
        with _folder(place) as folder:
            own = secrets.token_bytes(CONTENT_BYTES)
            (folder / "driver").write(own)
            if (folder / "driver").read() != own:
                return StorageProbe(str(place), error=f"{place} gives back something else than was written to it")
            return StorageProbe(str(place), problems=_visited(folder, own, examiners))
    except StorageError as error:
        return StorageProbe(str(place), error=f"{place} cannot be used: {error}")


def visit(folder: str, expected: bytes, file: str, content: bytes) -> str:
    """Read the driver's file and write one; return what is wrong, or nothing. Runs on a node.

    Args:
        folder: URI or path of the probe's folder.
        expected: what the driver wrote.
        file: name of the file to write.
    """
    from trainers.storage import Storage

    try:
        found = Storage.at(folder)
        read = (found / "driver").read()
        if read is None:
            return f"this node does not see what the driver wrote to {found.parent}: the folder is its own"
        if read != expected:
            return f"this node reads something else from {found.parent} than the driver wrote"
        (found / file).write(content)
    except StorageError as error:
        return str(error)
    return ""


def _visited(folder: Storage, expected: bytes, examiners: Examiners) -> dict[str, str]:
    contents = {node.name: (f"node-{number}", secrets.token_bytes(CONTENT_BYTES)) for number, node in enumerate(examiners.nodes)}

    def question(node: Node) -> Question:
        file, content = contents[node.name]
        return VISIT, {"folder": folder.uri, "expected": expected, "file": file, "content": content}

    said = {name: answer.error or answer.value for name, answer in examiners.ask(question).items()}
    problems = {name: problem or _difference(folder, *contents[name]) for name, problem in said.items()}
    return {name: problem for name, problem in problems.items() if problem}


def _difference(folder: Storage, file: str, content: bytes) -> str:
    try:
        found = (folder / file).read()
    except StorageError as error:
        return str(error)
    if found is None:
        return f"the driver does not see what this node wrote to {folder.parent}"
    return "" if found == content else f"the driver reads something else from {folder.parent} than this node wrote"


@contextmanager
def _folder(place: Storage) -> Iterator[Storage]:
    """Name a folder in the storage for the probe's files; remove it at the end, and what was made for it."""
    made: list[Any] = [] if place.local is None else [above for above in (place.local, *place.local.parents) if not above.exists()]
    folder = place / f".doctor-{secrets.token_hex(8)}"
    try:
        yield folder
    finally:
        with contextlib.suppress(StorageError):
            folder.remove()
        for created in made:
            with contextlib.suppress(OSError):
                created.rmdir()
