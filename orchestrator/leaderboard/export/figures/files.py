"""All figures of a board, and their files."""

from __future__ import annotations

import os
import re
import tempfile
from pathlib import Path

from orchestrator.leaderboard.board import Board
from orchestrator.leaderboard.export.figures.grids import grids
from orchestrator.leaderboard.export.figures.ladders import ladders
from orchestrator.leaderboard.export.figures.pareto import pareto
from orchestrator.leaderboard.export.figures.style import FORMATS, Drawing
from orchestrator.leaderboard.export.figures.tuning import tuning
from search_spaces.errors import StorageError


def figures_of(board: Board) -> tuple[Drawing, ...]:
    """Return the figures for which the board has data, base model by base model."""
    models = dict.fromkeys(row.model for row in board.rows)
    slugs = {model: f"{number}-{_slug(model)}".strip("-") for number, model in enumerate(models, start=1)}
    return tuple(
        drawing for model, slug in slugs.items() for make in (pareto, ladders, tuning, grids) for drawing in make(board, model, slug)
    )


def write_figures(board: Board, folder: Path) -> list[Path]:
    """Write every figure as SVG and PDF; files of the same names are replaced.

    Raises:
        StorageError: the folder cannot be written to.
    """
    written = []
    for drawing in figures_of(board):
        for form, content in zip(FORMATS, drawing.render(*FORMATS), strict=True):
            path = folder / f"{drawing.name}.{form}"
            _replace(path, content)
            written.append(path)
    return written


def _replace(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            file.write(content)
        Path(file.name).chmod(0o666 & ~_umask())
        os.replace(file.name, path)
    except OSError as error:
        raise StorageError(f"cannot write {path}: {error.strerror}") from error


def _umask() -> int:
    mask = os.umask(0o077)
    os.umask(mask)
    return mask


def _slug(name: str) -> str:
    """Return what of a name a file's name may hold; a path or a hub id gives its last part."""
    return re.sub(r"[^a-z0-9.]+", "-", name.lower().rstrip("/").rpartition("/")[2]).strip("-.")[:40]
