"""The folder of an appendix: written whole or not at all, and never over what somebody else put there."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path

from orchestrator.appendix.conclusion import SPEC_FILE
from orchestrator.appendix.content import appendix_of
from orchestrator.appendix.latex import latex
from orchestrator.appendix.markdown import FIGURES, markdown
from orchestrator.appendix.source import Source
from orchestrator.leaderboard.export.figures.style import FORMATS
from orchestrator.leaderboard.render import json_text
from search_spaces.errors import StorageError

MANIFEST = "appendix.json"
"""Lists the files of an appendix with their digests: what is written here, and nothing else, may be replaced."""
_FORMAT = "fairsweep appendix 1"


def write_appendix(source: Source, folder: Path) -> list[str]:
    """Write the appendix of a sweep with its figures, the board as JSON and the sweep file.

    Args:
        folder: a new or empty folder, or one that holds an appendix and nothing else, which is replaced.

    Returns:
        The names of the files, relative to the folder.

    Raises:
        StorageError: the folder holds other files, or cannot be written.
    """
    place = folder.resolve()
    files = _files(source)
    check_replaceable(place)
    digests = {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}
    manifest = json.dumps({"format": _FORMAT, "sweep": source.board.sweep, "digest": source.board.digest, "files": digests}, indent=1)
    try:
        _replace(place, {**files, MANIFEST: f"{manifest}\n".encode()})
    except OSError as error:
        raise StorageError(f"cannot write {folder}: {error.strerror}") from error
    return sorted([*files, MANIFEST])


def check_replaceable(folder: Path) -> None:
    """Refuse a folder that holds anything but an appendix as it was written.

    Raises:
        StorageError: it does, is no folder, or cannot be read.
    """
    try:
        _check(folder)
    except OSError as error:
        raise StorageError(f"cannot read {folder}: {error.strerror}. Fix: name a new folder") from error


def _check(folder: Path) -> None:
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return
    fix = "Fix: name a new folder"
    if not folder.is_dir():
        raise StorageError(f"{folder} is no folder. {fix}")
    known = _known(folder / MANIFEST)
    if known is None:
        raise StorageError(f"{folder} is not empty, and holds no appendix. {fix}")
    found = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}
    other = [name for name, path in found.items() if name != MANIFEST and (name not in known or known[name] != _digest(path))]
    if other:
        raise StorageError(f"{folder} holds {min(other)}, which was changed or added since the appendix was written. {fix}")


def _files(source: Source) -> dict[str, bytes]:
    appendix = appendix_of(source)
    texts = {"appendix.md": markdown(appendix), "appendix.tex": latex(appendix), "leaderboard.json": json_text(source.board)}
    if source.spec is not None:
        texts[SPEC_FILE] = source.spec
    figures = {
        f"{FIGURES}/{drawing.name}.{form}": content
        for drawing in appendix.drawings
        for form, content in zip(FORMATS, drawing.render(*FORMATS), strict=True)
    }
    return {**{name: text.encode() for name, text in texts.items()}, **figures}


def _replace(place: Path, files: Mapping[str, bytes]) -> None:
    """Put the files in a folder beside the place, then swap the two."""
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=f".{place.name[:50]}.") as work:
        new, old = Path(work, "new"), Path(work, "old")
        for name, content in files.items():
            path = new / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
        if place.exists():
            place.rename(old)
        try:
            new.rename(place)
        except OSError:
            if old.exists():
                old.rename(place)
            raise


def _known(manifest: Path) -> Mapping[str, str] | None:
    """Return the digests of the files that an appendix wrote; None where the manifest is not one of an appendix."""
    try:
        content = json.loads(manifest.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    if not isinstance(content, dict) or content.get("format") != _FORMAT or not isinstance(content.get("files"), dict):
        return None
    return {str(name): str(digest) for name, digest in content["files"].items()}


def _digest(path: Path) -> str:
    return "" if path.is_symlink() else hashlib.sha256(path.read_bytes()).hexdigest()
