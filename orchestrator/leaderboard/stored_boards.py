"""Boards on disk: each with what it was computed from, so that it is used while all of that is the same."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

from filelock import FileLock

from orchestrator.bounded_folder import BoundedFolder
from orchestrator.leaderboard.board import Board
from orchestrator.tracking.artifacts import stamp
from orchestrator.tracking.connection import shown_uri, sqlite_file
from trainers.locations import cache_root

log = logging.getLogger(__name__)

CACHE_BYTES = 512 * 2**20
"""Largest size of all boards together; those that were written longest ago give way."""
ROOMS = ("orchestrator", "search_spaces", "trainers")
LIBRARIES = ("numpy", "scipy", "pydantic", "pyarrow")
"""What boards are computed with besides."""

Stamps = Mapping[str, str | None]


@dataclass(frozen=True)
class Marked:
    """What a tracking database held while it had a mark."""

    sweep: str
    """Name of the sweep that was asked for, or ran last."""
    state: str
    """Fingerprint of its runs."""


@dataclass(frozen=True)
class StoredBoard:
    """A board in its file."""

    file: Path
    header: Mapping[str, Any]

    @property
    def stamps(self) -> Stamps:
        """Path -> stamp of the local files that it was computed from, then."""
        found: Stamps = self.header["files"]
        return found

    def current(self) -> dict[str, str | None]:
        """Return the stamps of these files now."""
        return {path: stamp(Path(path)) for path in self.stamps}

    def board(self) -> Board | None:
        """Return the board; None where the file is damaged."""
        try:
            _, _, body = self.file.read_bytes().partition(b"\n")
            return Board.from_json(json.loads(body)) if sha256(body).hexdigest() == self.header["sha256"] else None
        except (OSError, ValueError, KeyError, TypeError):
            return None


class StoredBoards:
    """The boards of one tracking store that this machine keeps. A cache that cannot be written costs time, and nothing else.

    Args:
        uri: the store's; what it holds of passwords is not kept.
        folder: where the files are; by default in the cache of this user.
    """

    def __init__(self, uri: str, folder: Path | None = None) -> None:
        file = sqlite_file(uri)
        # In another of MLflow's workspaces the same name is another sweep.
        self._store = [f"sqlite:///{file.absolute()}" if file else shown_uri(uri), os.environ.get("MLFLOW_WORKSPACE", "")]
        self._all = BoundedFolder(folder or cache_root() / "boards", CACHE_BYTES)

    def marked(self, mark: str | None, *asked: str | None) -> Marked | None:
        """Return what the store held when it had this mark, as far as that was noted for this question (sweep and digest)."""
        try:
            found = json.loads(self._path("mark", *asked).read_bytes())
            return Marked(str(found["sweep"]), str(found["state"])) if mark is not None and found["mark"] == mark else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def note(self, mark: str | None, found: Marked, *asked: str | None) -> None:
        """Note what the store holds while it has a mark."""
        if mark is not None:
            content = {"mark": mark, "sweep": found.sweep, "state": found.state}
            self._write(self._path("mark", *asked), json.dumps(content).encode())

    def find(self, sweep: str, digest: str | None, state: str) -> StoredBoard | None:
        """Return the board of a state of the runs, whether or not other files have changed since; None where there is none."""
        file = self._path("board", sweep, digest)
        try:
            with file.open("rb") as lines:
                header = json.loads(lines.readline())
            expected = {"code": code_digest(), "state": state}
            fits = {name: header[name] for name in expected} == expected and isinstance(header["files"], dict)
            return StoredBoard(file, header) if fits and isinstance(header["sha256"], str) else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def save(self, board: Board, sweep: str, digest: str | None, state: str, files: Stamps) -> None:
        """Keep a board in place of an earlier one of its sweep and digest."""
        body = json.dumps(board.to_json(), ensure_ascii=False, separators=(",", ":")).encode()
        header = {"code": code_digest(), "state": state, "files": dict(files), "sha256": sha256(body).hexdigest()}
        self._write(self._path("board", sweep, digest), json.dumps(header).encode() + b"\n" + body)

    @contextlib.contextmanager
    def computing(self, sweep: str, digest: str | None) -> Iterator[None]:
        """Let one process at a time compute a board, where the file system has locks."""
        lock: contextlib.AbstractContextManager[object] = contextlib.nullcontext()
        file = self._path("board", sweep, digest)
        with contextlib.suppress(OSError, NotImplementedError):
            self._make_folder()
            lock = FileLock(file.with_name(f".{file.name}.lock")).acquire()
        with lock:
            yield

    def _path(self, kind: str, *asked: str | None) -> Path:
        return self._all.folder / f"{sha256(json.dumps([*self._store, *asked]).encode()).hexdigest()[:32]}.{kind}"

    def _make_folder(self) -> None:
        # Boards of a server with a login are nobody else's business.
        self._all.folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def _write(self, file: Path, content: bytes) -> None:
        draft = file.with_name(f".{file.name}.{uuid.uuid4().hex}")
        try:
            self._make_folder()
            draft.write_bytes(content)
            os.replace(draft, file)
            self._all.prune()
        except OSError as error:
            log.warning("cannot keep a board in %s: %s. Fix: free space there, or move the cache by FAIRSWEEP_CACHE", file, error)
            with contextlib.suppress(OSError):
                draft.unlink()


@cache
def code_digest() -> str:
    """Return what changes with the code that computes boards, and with the libraries that it computes them with."""
    total = sha256(repr([(name, version(name)) for name in LIBRARIES]).encode())
    root = Path(__file__).parents[2]
    for file in sorted(file for room in ROOMS for file in (root / room).rglob("*.py")):
        total.update(f"{file.relative_to(root)}".encode() + file.read_bytes())
    return total.hexdigest()
