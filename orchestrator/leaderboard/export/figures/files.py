"""All figures of a board, and their files."""

from __future__ import annotations

import contextlib
import os
import uuid
from pathlib import Path

from orchestrator.leaderboard.board import Board
from orchestrator.leaderboard.export.figures.grids import grids
from orchestrator.leaderboard.export.figures.ladders import ladders
from orchestrator.leaderboard.export.figures.pareto import pareto
from orchestrator.leaderboard.export.figures.style import FORMATS, Drawing
from orchestrator.leaderboard.export.figures.tuning import tuning
from orchestrator.leaderboard.export.slugs import model_slugs
from search_spaces.errors import StorageError


def figures_of(board: Board) -> tuple[Drawing, ...]:
    """Return the figures for which the board has data, base model by base model."""
    return tuple(
        drawing
        for model, slug in model_slugs(board).items()
        for make in (pareto, ladders, tuning, grids)
        for drawing in make(board, model, slug)
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
    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_bytes(content)
        os.replace(draft, path)
    except OSError as error:
        with contextlib.suppress(OSError):
            draft.unlink()
        raise StorageError(f"cannot write {path}: {error.strerror}") from error
